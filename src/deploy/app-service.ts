import type { Readable } from 'node:stream';
import type { Appliance } from '../apps/appliance.ts';
import { behindNginx } from '../apps/behind-nginx.ts';
import { assertChanges, changeEnvironment, setsAny } from '../apps/change-variables.ts';
import { windUp } from '../apps/destroy.ts';
import type { Site } from '../apps/environment.ts';
import { writeHistory } from '../apps/history.ts';
import { readLogs } from '../apps/logs.ts';
import { Sites } from '../apps/registry.ts';
import { releaseView, releaseViews } from '../apps/release-view.ts';
import type { AppStatus, DeploySource, EnvironmentChange, GitCall, Service } from '../apps/service.ts';
import { siteStatus } from '../apps/status.ts';
import type { Target } from '../config/paths.ts';
import type { DomainView } from '../edge/domain.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { LogLine } from '../logs/join.ts';
import type { LogQuery } from '../logs/read.ts';
import type { Notice, TargetStatus } from '../protocol/runner.ts';
import type { GitExchange } from '../push/git-exchange.ts';
import { GitServer } from '../push/git-server.ts';
import type { Release } from '../releases/release.ts';
import { severity } from '../system/log/severity.ts';
import { deploy } from './deploy.ts';
import type { DeployEvent } from './events.ts';
import { readBuildLog } from './read-build-log.ts';
import { putInOrder, Reviver } from './recover.ts';
import { sourceOfCommit } from './redeploy.ts';
import { rollback } from './rollback.ts';
import { restart, scale, start, stop } from './scale.ts';

/** What the appliance can do, each in a line or a few; how it does it stands in the files beside this one. */
export class Deployer implements Service {
  readonly #appliance: Appliance;
  readonly #sites: Sites;
  readonly #reviver: Reviver;
  readonly #git: GitServer;
  readonly #stopping = new AbortController();
  readonly #signal = this.#stopping.signal;

  constructor(appliance: Appliance) {
    this.#appliance = appliance;
    this.#sites = new Sites(appliance);
    this.#reviver = new Reviver(appliance, this.#sites, (target, release) => this.#rebuild(target, release));
    // Git moves the branch itself when it has accepted the push.
    const deploy = this.#deploy.bind(this);
    this.#git = new GitServer(appliance, this.#sites, deploy, this.#signal);
  }

  /** Puts in order what the last server left. To be awaited before the first call. */
  async recover(): Promise<void> {
    await putInOrder(this.#appliance, this.#sites);
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
    const sites = await this.#sites.all();
    const deployments = sites.flatMap((site) => [...site.deployments.values()]);
    for (const deployment of deployments) deployment.cancel(reason);
    await Promise.all(deployments.map(({ over }) => over));
    await this.#git.windDown();
    for (const site of sites) {
      // Whoever moves traffic holds this until it is on record.
      using _traffic = await site.traffic.take();
    }
  }

  async deploy(
    target: Target,
    source: DeploySource,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release> {
    const release = await this.#deploy(target, source, onEvent);
    await this.#git.align(target.app);
    return release;
  }

  async #deploy(
    target: Target,
    source: DeploySource,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release> {
    this.#signal.throwIfAborted();
    return this.#sites.withOneMade(target, (site) => deploy(site, source, onEvent, this.#signal));
  }

  async redeploy(
    target: Target,
    release: number,
    by: string,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release> {
    const { repository } = this.#sites.repository(target.app);
    const source = await sourceOfCommit(await this.#sites.find(target), repository, release, by);
    try {
      return await this.deploy(target, source, onEvent);
    } finally {
      source.body.destroy();
    }
  }

  /** What a backup was restored without: the release that was live, from its commit. */
  async #rebuild(target: Target, release: number): Promise<void> {
    await this.redeploy(target, release, 'restore', () => undefined);
  }

  git(app: string, call: GitCall): Promise<GitExchange> {
    return this.#git.open(app, call);
  }

  async rollback(
    target: Target,
    release: number | null,
    by: string,
    onEvent: (event: DeployEvent) => void = () => undefined,
  ): Promise<Release> {
    const site = await this.#sites.find(target);
    const work = () => rollback(site, release, this.#signal, onEvent);
    const live = await this.#recorded(site, 'rollback', by, work, ({ number }) => ({ release: number }));
    await this.#git.align(target.app);
    return live;
  }

  cancel(target: Target, release: number, by: string): Promise<Release> {
    return this.#sites.withOne(target, async (site) => {
      const deployment = site.deployments.get(release);
      if (!deployment?.cancel(new AppError('cancelled', `release ${release} was cancelled by ${by}`))) {
        const { state } = await releaseView(site, release);
        throw new AppError('not_cancellable', `release ${release} of ${site.name} is ${state}`, {
          hint: 'Only a deploy that has not begun its switch can be cancelled. To leave a live release, roll back.',
        });
      }
      await deployment.over;
      return releaseView(site, release);
    });
  }

  restart(target: Target, by: string): Promise<AppStatus> {
    return this.#changeProcesses('restart', target, by, (site) => restart(site, this.#signal));
  }

  stop(target: Target, by: string): Promise<AppStatus> {
    return this.#changeProcesses('stop', target, by, (site) => stop(site, this.#signal));
  }

  start(target: Target, by: string): Promise<AppStatus> {
    return this.#changeProcesses('start', target, by, (site) => start(site, this.#signal));
  }

  scale(target: Target, workers: number | null, by: string): Promise<AppStatus> {
    return this.#changeProcesses('scale', target, by, (site) => scale(site, workers, this.#signal));
  }

  async environment(target: Target): Promise<Record<string, string>> {
    return (await this.#sites.find(target)).environment();
  }

  async changeEnvironment(
    target: Target,
    changes: Record<string, string | null>,
    { restart, by }: { restart: boolean; by: string },
  ): Promise<EnvironmentChange> {
    this.#signal.throwIfAborted();
    // Before anything is made for an app that may not be there yet.
    assertChanges(changes);
    const change = (site: Site) =>
      this.#recorded(site, 'env', by, () => changeEnvironment(site, changes, restart, this.#signal));
    return setsAny(changes)
      ? this.#sites.withOneMade(target, change)
      : this.#sites.withOneKept(target, change);
  }

  async list(): Promise<AppStatus[]> {
    const running = await this.#appliance.runner.status();
    const sites = await this.#sites.all();
    const all = await Promise.all(sites.map((site) => this.#statusIfReadable(site, running)));
    return all.filter((status) => status !== undefined);
  }

  /**
   * Returns the status of an app, for the list of all apps; undefined if its files cannot be read, since the list must show
   * the other apps all the same. The app's own status call gives the reason. Also undefined if the app was removed meanwhile.
   */
  async #statusIfReadable(site: Site, running: TargetStatus[]): Promise<AppStatus | undefined> {
    try {
      return await siteStatus(site, running);
    } catch (error) {
      if (error instanceof AppError && error.code === 'app_not_found') return undefined;
      this.#appliance.log.error('app not listed', { app: site.name, error });
      return undefined;
    }
  }

  async status(target: Target): Promise<AppStatus> {
    const site = await this.#sites.find(target);
    return siteStatus(site, await this.#appliance.runner.status());
  }

  async domainNotices(target: Target, domain: DomainView): Promise<Notice[]> {
    const { store } = await this.#sites.find(target);
    const active = await store.active();
    const live = active === null ? undefined : await store.get(active.release);
    return behindNginx(live?.protocol ?? 'http', domain);
  }

  async releases(target: Target): Promise<Release[]> {
    return releaseViews(await this.#sites.find(target));
  }

  async release(target: Target, number: number): Promise<Release> {
    return releaseView(await this.#sites.find(target), number);
  }

  async buildLog(target: Target, number: number): Promise<Readable> {
    return readBuildLog(await this.#sites.find(target), number);
  }

  async *logs(target: Target, query: LogQuery): AsyncIterable<LogLine> {
    yield* readLogs(await this.#sites.find(target), query);
  }

  async destroy(app: string, by: string, gone: () => Promise<void>): Promise<void> {
    this.#signal.throwIfAborted();
    using moving = this.#appliance.stillness.tryMove();
    if (moving === undefined) throw backupRunning(app);
    await this.#sites.remove(app, windUp, async () => {
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
    held.use(await this.#appliance.stillness.hold(this.#signal));
    this.#appliance.log.info('holding still', { by });
    return held;
  }

  async #changeProcesses(
    action: string,
    target: Target,
    by: string,
    work: (site: Site) => Promise<void>,
  ): Promise<AppStatus> {
    return this.#sites.withOneKept(target, async (site) => {
      await this.#recorded(site, action, by, () => work(site));
      return this.status(target);
    });
  }

  /**
   * Does something, and writes into the history and the log how it ended.
   * @param details what else the history should say of a result
   */
  async #recorded<T>(
    { target, name }: Site,
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
      await writeHistory(this.#appliance, target, { action, by, ...details(result), outcome: 'done' });
      return result;
    } catch (error) {
      const { code, message } = errorBody(error);
      const why = error instanceof AppError ? { code, message } : { error };
      log[severity(error)](`${action} failed`, { app: name, by, ...why });
      await writeHistory(this.#appliance, target, { action, by, outcome: 'failed', code });
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
