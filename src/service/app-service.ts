import type { Appliance } from '../apps/appliance.ts';
import type { Environment } from '../apps/environment.ts';
import { type LoggedEvent, writeHistory } from '../apps/history.ts';
import { Registry } from '../apps/registry.ts';
import { releaseView } from '../apps/release-view.ts';
import { isRemoved, type RemovedId } from '../apps/removal.ts';
import { type AppStatus, environmentStatus } from '../apps/status.ts';
import { type EnvironmentId, environmentName } from '../config/paths.ts';
import {
  assertChanges,
  changeVariables,
  type VariableChanges,
  type VariablesChange,
} from '../deploy/change-variables.ts';
import { type DeploySource, deploy } from '../deploy/deploy.ts';
import type { DeployWatcher } from '../deploy/events.ts';
import { clearKept, type KeptThing, listKept } from '../deploy/kept.ts';
import { movePort, type PortMove } from '../deploy/move-port.ts';
import { type InstalledNode, nodeOverview } from '../deploy/node-overview.ts';
import { type NodeUpdate, updateNode } from '../deploy/node-update.ts';
import { endOneOffs } from '../deploy/one-off.ts';
import { Recovery, recoverFiles } from '../deploy/recover.ts';
import { rollback } from '../deploy/rollback.ts';
import { type RunStateChange, restart, restartProcess, scale, start, stop } from '../deploy/run-state.ts';
import { sourceOfCommit } from '../deploy/source-of-commit.ts';
import { followWatch, recordRevert } from '../deploy/watch.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { GitServer } from '../push/git-server.ts';
import type { Release } from '../releases/release.ts';
import { levelOf } from '../system/log/log.ts';
import { OneOffService } from './one-offs.ts';

/**
 * Use cases of the appliance, which the API calls. Each is a few lines; `deploy`, `apps` and `push` do the work. Each
 * change writes a line of `events.jsonl`. All methods that take an environment throw AppError `app_not_found` and
 * `invalid_name`. `by` is who makes a change, for the history.
 */
export class AppService {
  /** serves clients of git: a push deploys, and the first push creates the app */
  readonly git: GitServer;
  /** runs one-off commands */
  readonly oneOffs: OneOffService;
  readonly #appliance: Appliance;
  readonly #registry: Registry;
  readonly #recovery: Recovery;
  readonly #stopping = new AbortController();
  readonly #signal = this.#stopping.signal;
  /** number of calls of `#recordReverts` under way */
  #recordings = 0;

  constructor(appliance: Appliance) {
    this.#appliance = appliance;
    this.#registry = new Registry(appliance);
    this.oneOffs = new OneOffService(appliance, this.#registry, this.#signal);
    this.#recovery = new Recovery(appliance, this.#registry, ({ id }, release) =>
      this.redeploy(id, { release, noCache: false }, 'restore', () => undefined),
    );
    // git moves the branch of a push itself, so a push does not align the branches.
    const deployPushed = this.#deploy.bind(this);
    this.git = new GitServer(appliance, this.#registry, deployPushed, this.#signal);
  }

  /** Repairs the files after a crash of the last server. Must finish before any other call. */
  async recover(): Promise<void> {
    await recoverFiles(this.#appliance, this.#registry);
    await this.git.recover();
  }

  /** True while there is work that must not wait for the next server, with or without a request. */
  get isBusy(): boolean {
    const isRecovering = this.#recovery.isBusy || this.#recordings > 0;
    return isRecovering || this.#registry.isBusy || this.git.isBusy || this.#appliance.moveLock.isTaken;
  }

  /** Starts apps that should run, now and whenever a runner connects. Resolves when each has been tried once. */
  keepRunning(): Promise<void> {
    this.#appliance.runner.onConnected(() => {
      void this.#recovery.startAll();
      void this.#recordReverts();
    });
    return this.#recovery.settled;
  }

  /** Records what the runner has reverted while this server had no connection to it, and follows its watches. */
  async #recordReverts(): Promise<void> {
    this.#recordings += 1;
    try {
      const running = await this.#appliance.runner.status();
      for (const environment of await this.#registry.all()) {
        const align = () => this.git.align(environment.id.app);
        const status = running.find(({ key }) => key === environment.name);
        if (status?.active && status.returnsTo !== null)
          followWatch(environment, { number: status.active.release }, status.active, align);
        else if (await recordRevert(environment)) await align();
      }
    } catch (error) {
      this.#appliance.log.error('reverts not recorded', { error });
    }
    this.#recordings -= 1;
  }

  /** Refuses new calls, cancels deploys that have not begun their switch, and waits for all others. Apps keep running. */
  async shutDown(): Promise<void> {
    const reason = new AppError('stopping', 'Sluice is being stopped', {
      hint: 'Try again when it is up again.',
    });
    this.#stopping.abort(reason);
    await this.#recovery.stop();
    const environments = await this.#registry.all();
    const deploys = environments.flatMap((environment) => [...environment.deploys.values()]);
    for (const each of deploys) each.cancel(reason);
    await Promise.all(deploys.map(({ ended }) => ended));
    await this.git.shutDown();
    for (const environment of environments) {
      // A switch holds this lock until it is on record.
      using _traffic = await environment.trafficLock.take();
      await environment.store.settled();
    }
  }

  /**
   * Deploys an upload. Creates the app on first use.
   * @throws AppError of the step that failed; the release is then in state `failed`
   */
  async deploy(id: EnvironmentId, source: DeploySource, watch: DeployWatcher): Promise<Release> {
    const release = await this.#deploy(id, source, watch);
    await this.git.align(id.app);
    return release;
  }

  async #deploy(id: EnvironmentId, source: DeploySource, watch: DeployWatcher): Promise<Release> {
    this.#signal.throwIfAborted();
    const watched = { ...source, reverted: () => this.git.align(id.app) };
    const work = (environment: Environment) => deploy(environment, watched, watch, this.#signal);
    return this.#registry.use(id, work, { create: true });
  }

  /**
   * Builds the commit of an earlier release again, as a new release.
   * @throws AppError as `deploy`; `release_not_found`, `commit_not_kept`
   */
  async redeploy(
    id: EnvironmentId,
    { release, noCache }: { release: number; noCache: boolean },
    by: string,
    watch: DeployWatcher,
  ): Promise<Release> {
    const repository = this.#registry.repository(id.app);
    const source = await sourceOfCommit(await this.find(id), repository, release, by);
    try {
      return await this.deploy(id, { ...source, noCache }, watch);
    } finally {
      source.body.destroy();
    }
  }

  /**
   * Moves the traffic back to `release`; if null, to the newest release before the active one that was live.
   * @throws AppError `nothing_to_roll_back_to`, `release_not_found`
   */
  async rollback(
    id: EnvironmentId,
    release: number | null,
    by: string,
    watch: DeployWatcher = () => undefined,
  ): Promise<Release> {
    const work = (environment: Environment) => rollback(environment, release, this.#signal, watch);
    const live = await this.#change(id, 'rollback', by, work, {
      details: ({ number }) => ({ release: number }),
    });
    await this.git.align(id.app);
    return live;
  }

  /**
   * Moves an app to another port, which another program may still have.
   * @throws AppError `port_taken`, `not_deployed`
   */
  movePort(id: EnvironmentId, move: PortMove, by: string, watch: DeployWatcher): Promise<Release> {
    return this.#change(id, 'port', by, (environment) => movePort(environment, move, this.#signal, watch));
  }

  /**
   * Waits until a release that was deployed is no longer compared with the one before.
   * @returns the release, which may be reverted
   * @throws AppError `release_not_found`
   */
  async watched(id: EnvironmentId, release: number): Promise<Release> {
    const environment = await this.find(id);
    if (environment.watch?.release === release) await environment.watch.ended;
    return releaseView(environment, release);
  }

  /** Cancels a deploy that has not begun its switch. @throws AppError `not_cancellable`, `release_not_found` */
  cancel(id: EnvironmentId, release: number, by: string): Promise<Release> {
    const work = async (environment: Environment) => {
      const deployment = environment.deploys.get(release);
      if (!deployment?.cancel(new AppError('cancelled', `release ${release} was cancelled by ${by}`))) {
        const { state } = await releaseView(environment, release);
        throw new AppError('not_cancellable', `release ${release} of ${environment.name} is ${state}`, {
          hint: 'A deploy can be cancelled until its switch begins. To leave a live release, roll back.',
        });
      }
      await deployment.ended;
      return releaseView(environment, release);
    };
    return this.#registry.use(id, work, { removeUnused: true });
  }

  /**
   * Restarts an app: switches to a new generation of the live release. Or stops it: ends all workers until a start or a deploy.
   * Or starts it.
   * @throws AppError `not_deployed`
   */
  changeRunState(action: 'restart' | 'stop' | 'start', id: EnvironmentId, by: string): Promise<AppStatus> {
    return this.#changeWorkers(action, { restart, stop, start }[action], id, by);
  }

  /**
   * Restarts background processes: one such as `mail.0`, or all with a name.
   * @throws AppError `process_not_found`
   */
  async restartProcess(id: EnvironmentId, process: string, by: string): Promise<AppStatus> {
    const work = (environment: Environment) => restartProcess(environment, process, this.#signal);
    await this.#change(id, 'restart', by, work, { details: () => ({ process }) });
    return this.status(id);
  }

  /**
   * Sets the number of workers of this and later releases; null restores the number of the release.
   * @throws AppError `without_port`
   */
  scale(id: EnvironmentId, workers: number | null, by: string): Promise<AppStatus> {
    return this.#changeWorkers('scale', scale(workers), id, by);
  }

  async #changeWorkers(
    action: string,
    change: RunStateChange,
    id: EnvironmentId,
    by: string,
  ): Promise<AppStatus> {
    await this.#change(id, action, by, async (environment) => {
      using _traffic = await environment.trafficLock.take(this.#signal);
      await change(environment, this.#signal);
    });
    await this.#waitForProcesses(id);
    return this.status(id);
  }

  /** Waits, so that the status shows the processes that run from now on. Never rejects: the change has been made. */
  async #waitForProcesses(id: EnvironmentId): Promise<void> {
    const { runner, log } = this.#appliance;
    const app = environmentName(id);
    try {
      await runner.call('replaced', { key: app });
    } catch (error) {
      log.warn('background processes not awaited', { app, error });
    }
  }

  /**
   * Moves the live release to the newest version of its Node.js that the app accepts, in the same major version.
   * @throws AppError `not_deployed`, `install_failed`
   */
  updateNode(id: EnvironmentId, by: string): Promise<NodeUpdate> {
    return this.#change(id, 'node update', by, async (environment) => {
      using _traffic = await environment.trafficLock.take(this.#signal);
      return updateNode(environment, this.#signal);
    });
  }

  /** Lists the packages and caches that an environment keeps for its next deploy. */
  async kept(id: EnvironmentId): Promise<KeptThing[]> {
    return listKept(await this.find(id));
  }

  /** Removes the packages and caches that an environment keeps for its next deploy. @returns what was removed */
  clearKept(id: EnvironmentId, by: string): Promise<KeptThing[]> {
    return this.#change(id, 'cache clear', by, clearKept);
  }

  /** Returns the installed versions of Node.js, the newest first. */
  async nodes(): Promise<InstalledNode[]> {
    return nodeOverview(this.#appliance, await this.#registry.all(), this.#signal);
  }

  find(id: EnvironmentId): Promise<Environment> {
    return this.#registry.find(id);
  }

  /**
   * Changes variables; null removes one. If the app runs, switches to workers with the new values, unless `restart` is
   * false. Setting a variable creates the app.
   * @throws AppError `invalid_env`
   */
  async changeVariables(
    id: EnvironmentId,
    changes: VariableChanges,
    { restart, by }: { restart: boolean; by: string },
  ): Promise<VariablesChange> {
    // Checked before the app is created.
    assertChanges(changes);
    const change = (environment: Environment) =>
      changeVariables(environment, changes, { restart, by }, this.#signal);
    const create = Object.values(changes).some((value) => value !== null);
    return this.#change(id, 'env', by, change, { create });
  }

  /** Returns the status of all environments, by name. Leaves out an app whose files cannot be read. */
  async list(): Promise<AppStatus[]> {
    const { runner } = this.#appliance;
    const [running, oneOffs] = await Promise.all([runner.status(), runner.oneOffs()]);
    const statuses = (await this.#registry.all()).map(async (environment) => {
      try {
        return [await environmentStatus(environment, running, oneOffs)];
      } catch (error) {
        // The app was removed, or the status call of the app itself gives the error.
        const isGone = error instanceof AppError && error.code === 'app_not_found';
        if (!isGone) this.#appliance.log.error('app not listed', { app: environment.name, error });
        return [];
      }
    });
    return (await Promise.all(statuses)).flat();
  }

  async status(id: EnvironmentId): Promise<AppStatus> {
    const { runner } = this.#appliance;
    const environment = await this.find(id);
    const [running, oneOffs] = await Promise.all([runner.status(environment.name), runner.oneOffs()]);
    return environmentStatus(environment, running, oneOffs);
  }

  /**
   * Stops and removes an app with all its environments and files, or one environment.
   * @param gone called when it is gone, before its files are deleted; `isLast` if the app has no environment left
   * @throws AppError `backup_running`
   */
  async destroy(
    removed: RemovedId,
    by: string,
    gone: (isLast: boolean) => Promise<void> = async () => {},
  ): Promise<void> {
    this.#signal.throwIfAborted();
    const { moveLock, domains, log } = this.#appliance;
    const { app, environment } = removed;
    using moving = moveLock.tryMove();
    if (moving === undefined) {
      throw new AppError('backup_running', `a backup is being made, and ${app} is in it`, {
        hint: 'Try again after the backup.',
      });
    }
    let isGone = false;
    try {
      await this.#registry.remove(removed, endForRemoval, async (isLast) => {
        isGone = true;
        // Both are tried even if one fails: nobody can remove the app again.
        const domainsGone = domains.removeOf((id) => isRemoved(removed, id));
        const outcomes = await Promise.allSettled([domainsGone, gone(isLast)]);
        for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
      });
    } finally {
      if (isGone) {
        log.info('app removed', { app, ...(environment !== null && { environment }), by });
        const event = { app, environment: environment ?? '*', action: 'destroy', by, outcome: 'done' };
        await writeHistory(this.#appliance, event);
      }
    }
  }

  /** Moves and removes no files until the result is disposed of: for a backup. */
  async freezeFiles(by: string): Promise<Disposable> {
    this.#signal.throwIfAborted();
    const { moveLock, log } = this.#appliance;
    const freeze = new DisposableStack();
    freeze.defer(() => log.info('files released', { by }));
    freeze.use(await moveLock.freeze(this.#signal));
    log.info('files frozen', { by });
    return freeze;
  }

  /**
   * Makes a change of an environment, and records its outcome in the history and the log.
   * @param details of the result, for the history
   */
  #change<T>(
    id: EnvironmentId,
    action: string,
    by: string,
    work: (environment: Environment) => Promise<T>,
    { create = false, details = () => ({}) }: ChangeOptions<T> = {},
  ): Promise<T> {
    this.#signal.throwIfAborted();
    const { log } = this.#appliance;
    const record = async (environment: Environment) => {
      const { name: app } = environment;
      try {
        const result = await work(environment);
        log.info(action, { app, by, ...details(result) });
        await writeHistory(this.#appliance, { ...id, action, by, ...details(result), outcome: 'done' });
        return result;
      } catch (error) {
        const { code, message } = errorBody(error);
        const why = error instanceof AppError ? { code, message } : { error };
        log[levelOf(error)](`${action} failed`, { app, by, ...why });
        await writeHistory(this.#appliance, { ...id, action, by, outcome: 'failed', code });
        throw error;
      }
    };
    return this.#registry.use(id, record, { create });
  }
}

interface ChangeOptions<T> {
  /** creates the environment if it does not exist */
  create?: boolean;
  /** details of the result, for the history */
  details?: (result: T) => Pick<LoggedEvent, 'release' | 'process'>;
}

/** Ends everything that runs in an environment that is to be removed. Returns its traffic lock. */
async function endForRemoval(environment: Environment): Promise<Disposable> {
  const { deploys, name, trafficLock, appliance } = environment;
  using ending = new DisposableStack();
  environment.isBeingRemoved = true;
  ending.defer(() => {
    environment.isBeingRemoved = false;
  });
  // Also cancels deploys that begin meanwhile.
  for (const deployment of deploys.values()) {
    deployment.cancel(new AppError('cancelled', `${name} was removed during this deploy`));
    await deployment.ended;
  }
  ending.use(await trafficLock.take());
  await environment.store.settled();
  await appliance.runner.call('stop', { key: name });
  await endOneOffs(environment);
  return ending.move();
}
