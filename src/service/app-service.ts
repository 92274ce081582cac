import type { Readable } from 'node:stream';
import type { Appliance } from '../apps/appliance.ts';
import { behindNginx } from '../apps/behind-nginx.ts';
import { windUp } from '../apps/destroy.ts';
import type { Environment } from '../apps/environment.ts';
import { writeHistory } from '../apps/history.ts';
import { Registry } from '../apps/registry.ts';
import { releaseView, releaseViews } from '../apps/release-view.ts';
import type { AppStatus } from '../apps/status.ts';
import { environmentStatus } from '../apps/status.ts';
import type { EnvironmentId } from '../config/paths.ts';
import type { EnvironmentChange } from '../deploy/change-variables.ts';
import { assertChanges, changeEnvironment, setsAny } from '../deploy/change-variables.ts';
import type { DeploySource } from '../deploy/deploy.ts';
import { deploy } from '../deploy/deploy.ts';
import type { DeployEvent } from '../deploy/events.ts';
import { putInOrder, Reviver } from '../deploy/recover.ts';
import { sourceOfCommit } from '../deploy/redeploy.ts';
import { rollback } from '../deploy/rollback.ts';
import { restart, scale, start, stop } from '../deploy/scale.ts';
import type { DomainView } from '../edge/domain.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { LogLine } from '../logs/join.ts';
import type { LogQuery } from '../logs/read.ts';
import type { EnvironmentStatus, Notice } from '../protocol/runner.ts';
import { GitServer } from '../push/git-server.ts';
import type { GitCall } from '../push/push.ts';
import type { GitSession } from '../push/session.ts';
import type { Release } from '../releases/release.ts';
import { levelOf } from '../system/log/log.ts';
import { readAppLog, readBuildLog } from './logs.ts';

/** Use cases of the appliance, which the API calls. Each is a few lines; the work is done in `deploy`, `apps` and `push`. */
export class AppService {
  readonly #appliance: Appliance;
  readonly #environments: Registry;
  readonly #reviver: Reviver;
  readonly #git: GitServer;
  readonly #stopping = new AbortController();
  readonly #signal = this.#stopping.signal;

  constructor(appliance: Appliance) {
    this.#appliance = appliance;
    this.#environments = new Registry(appliance);
    this.#reviver = new Reviver(appliance, this.#environments, (target, release) =>
      this.#rebuild(target, release),
    );
    // Git moves the branch itself when it has accepted the push.
    const deploy = this.#deploy.bind(this);
    this.#git = new GitServer(appliance, this.#environments, deploy, this.#signal);
  }

  /** Puts in order what the last server left. To be awaited before the first call. */
  async recover(): Promise<void> {
    await putInOrder(this.#appliance, this.#environments);
    await this.#git.recover();
  }

  /**
   * From here on, what should run and does not is started.
   * @returns when that has come to something for each, once
   */
  keepRunning(): Promise<void> {
    this.#appliance.runner.onConnected(() => this.#reviver.reviveAll());
    return this.#reviver.settled;
  }

  /** Refuses what is new, ends what has not reached its switch, and waits for the rest. Apps go on running. */
  async windDown(): Promise<void> {
    const reason = stopping();
    this.#stopping.abort(reason);
    await this.#reviver.stop();
    const environments = await this.#environments.all();
    const deployments = environments.flatMap((environment) => environment.deploys.all);
    for (const deployment of deployments) deployment.cancel(reason);
    await Promise.all(deployments.map(({ ended }) => ended));
    await this.#git.windDown();
    for (const environment of environments) {
      // Whoever moves traffic holds this until it is on record.
      using _traffic = await environment.traffic.take();
    }
  }

  async deploy(
    target: EnvironmentId,
    source: DeploySource,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release> {
    const release = await this.#deploy(target, source, onEvent);
    await this.#git.align(target.app);
    return release;
  }

  async #deploy(
    target: EnvironmentId,
    source: DeploySource,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release> {
    this.#signal.throwIfAborted();
    return this.#environments.withOneMade(target, (environment) =>
      deploy(environment, source, onEvent, this.#signal),
    );
  }

  async redeploy(
    target: EnvironmentId,
    release: number,
    by: string,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release> {
    const repository = this.#environments.repository(target.app);
    const source = await sourceOfCommit(await this.#environments.find(target), repository, release, by);
    try {
      return await this.deploy(target, source, onEvent);
    } finally {
      source.body.destroy();
    }
  }

  /** Builds the release that was live in a backup, from its commit. */
  async #rebuild(target: EnvironmentId, release: number): Promise<void> {
    await this.redeploy(target, release, 'restore', () => undefined);
  }

  git(app: string, call: GitCall): Promise<GitSession> {
    return this.#git.open(app, call);
  }

  async rollback(
    target: EnvironmentId,
    release: number | null,
    by: string,
    onEvent: (event: DeployEvent) => void = () => undefined,
  ): Promise<Release> {
    const environment = await this.#environments.find(target);
    const work = () => rollback(environment, release, this.#signal, onEvent);
    const live = await this.#recorded(environment, 'rollback', by, work, ({ number }) => ({
      release: number,
    }));
    await this.#git.align(target.app);
    return live;
  }

  cancel(target: EnvironmentId, release: number, by: string): Promise<Release> {
    return this.#environments.withEnvironment(target, async (environment) => {
      const deployment = environment.deploys.get(release);
      if (!deployment?.cancel(new AppError('cancelled', `release ${release} was cancelled by ${by}`))) {
        const { state } = await releaseView(environment, release);
        throw new AppError('not_cancellable', `release ${release} of ${environment.name} is ${state}`, {
          hint: 'Only a deploy that has not begun its switch can be cancelled. To leave a live release, roll back.',
        });
      }
      await deployment.ended;
      return releaseView(environment, release);
    });
  }

  restart(target: EnvironmentId, by: string): Promise<AppStatus> {
    return this.#changeProcesses('restart', target, by, (environment) => restart(environment, this.#signal));
  }

  stop(target: EnvironmentId, by: string): Promise<AppStatus> {
    return this.#changeProcesses('stop', target, by, (environment) => stop(environment, this.#signal));
  }

  start(target: EnvironmentId, by: string): Promise<AppStatus> {
    return this.#changeProcesses('start', target, by, (environment) => start(environment, this.#signal));
  }

  scale(target: EnvironmentId, workers: number | null, by: string): Promise<AppStatus> {
    return this.#changeProcesses('scale', target, by, (environment) =>
      scale(environment, workers, this.#signal),
    );
  }

  async environment(target: EnvironmentId): Promise<Record<string, string>> {
    return (await this.#environments.find(target)).variables();
  }

  async changeEnvironment(
    target: EnvironmentId,
    changes: Record<string, string | null>,
    { restart, by }: { restart: boolean; by: string },
  ): Promise<EnvironmentChange> {
    this.#signal.throwIfAborted();
    // Before anything is made for an app that may not be there yet.
    assertChanges(changes);
    const change = (environment: Environment) =>
      this.#recorded(environment, 'env', by, () =>
        changeEnvironment(environment, changes, restart, this.#signal),
      );
    return setsAny(changes)
      ? this.#environments.withOneMade(target, change)
      : this.#environments.withOneKept(target, change);
  }

  async list(): Promise<AppStatus[]> {
    const running = await this.#appliance.runner.status();
    const environments = await this.#environments.all();
    const all = await Promise.all(
      environments.map((environment) => this.#statusIfReadable(environment, running)),
    );
    return all.filter((status) => status !== undefined);
  }

  /**
   * Returns the status of an app, for the list of all apps; undefined if its files cannot be read, since the list must show
   * the other apps all the same. The app's own status call gives the reason. Also undefined if the app was removed meanwhile.
   */
  async #statusIfReadable(
    environment: Environment,
    running: EnvironmentStatus[],
  ): Promise<AppStatus | undefined> {
    try {
      return await environmentStatus(environment, running);
    } catch (error) {
      if (error instanceof AppError && error.code === 'app_not_found') return undefined;
      this.#appliance.log.error('app not listed', { app: environment.name, error });
      return undefined;
    }
  }

  async status(target: EnvironmentId): Promise<AppStatus> {
    const environment = await this.#environments.find(target);
    return environmentStatus(environment, await this.#appliance.runner.status());
  }

  async domainNotices(target: EnvironmentId, domain: DomainView): Promise<Notice[]> {
    const live = await (await this.#environments.find(target)).liveRelease();
    return behindNginx(live?.protocol ?? 'http', domain);
  }

  async releases(target: EnvironmentId): Promise<Release[]> {
    return releaseViews(await this.#environments.find(target));
  }

  async release(target: EnvironmentId, number: number): Promise<Release> {
    return releaseView(await this.#environments.find(target), number);
  }

  async buildLog(target: EnvironmentId, number: number): Promise<Readable> {
    return readBuildLog(await this.#environments.find(target), number);
  }

  async *logs(target: EnvironmentId, query: LogQuery): AsyncIterable<LogLine> {
    yield* readAppLog(await this.#environments.find(target), query);
  }

  async destroy(app: string, by: string, gone: () => Promise<void>): Promise<void> {
    this.#signal.throwIfAborted();
    using moving = this.#appliance.moveLock.tryMove();
    if (moving === undefined) throw backupRunning(app);
    await this.#environments.remove(app, windUp, async () => {
      await this.#appliance.domains.removeOf(app);
      await gone();
    });
    this.#appliance.log.info('app removed', { app, by });
    await writeHistory(
      this.#appliance,
      { app, environment: '*' },
      { action: 'destroy', by, outcome: 'done' },
    );
  }

  async hold(by: string): Promise<Disposable> {
    this.#signal.throwIfAborted();
    const held = new DisposableStack();
    held.defer(() => this.#appliance.log.info('held still', { by }));
    held.use(await this.#appliance.moveLock.hold(this.#signal));
    this.#appliance.log.info('holding still', { by });
    return held;
  }

  async #changeProcesses(
    action: string,
    target: EnvironmentId,
    by: string,
    work: (environment: Environment) => Promise<void>,
  ): Promise<AppStatus> {
    return this.#environments.withOneKept(target, async (environment) => {
      await this.#recorded(environment, action, by, () => work(environment));
      return this.status(target);
    });
  }

  /**
   * Does something, and writes into the history and the log how it ended.
   * @param details what else the history should say of a result
   */
  async #recorded<T>(
    { id, name }: Environment,
    action: string,
    by: string,
    work: () => Promise<T>,
    details: (result: T) => { release?: number } = () => ({}),
  ): Promise<T> {
    this.#signal.throwIfAborted();
    const { log } = this.#appliance;
    try {
      const result = await work();
      log.info(action, { app: name, by, ...details(result) });
      await writeHistory(this.#appliance, id, { action, by, ...details(result), outcome: 'done' });
      return result;
    } catch (error) {
      const { code, message } = errorBody(error);
      const why = error instanceof AppError ? { code, message } : { error };
      log[levelOf(error)](`${action} failed`, { app: name, by, ...why });
      await writeHistory(this.#appliance, id, { action, by, outcome: 'failed', code });
      throw error;
    }
  }
}

function backupRunning(app: string): AppError {
  return new AppError('backup_running', `a backup is being made, and ${app} is in it`, {
    hint: 'Try again when it is made.',
  });
}

function stopping(): AppError {
  return new AppError('stopping', 'Sluice is being stopped', { hint: 'Try again when it is up again.' });
}
