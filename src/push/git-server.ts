import type { AppRepository } from '../apps/app-repository.ts';
import type { Appliance } from '../apps/appliance.ts';
import type { Registry } from '../apps/registry.ts';
import type { EnvironmentId } from '../config/paths.ts';
import { gitEnvironment } from '../git/git.ts';
import type { JobSpec } from '../protocol/runner.ts';
import { ensureSpace } from '../releases/disk.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { sweepTemporaries } from '../system/fs/temporaries.ts';
import { type Deploy, servePush } from './push.ts';
import { type GitCall, GitSession } from './session.ts';

/** Time for pushes to end when the server stops, in ms. Their deploys have ended by then. */
const stopTimeout = 5000;
/** Number of repositories that are recovered at a time. */
const recoveredAtATime = 4;
/** Time limits of a garbage collection, in ms. In a shallow repository, pushes wait at their end for the collection. */
const collectionTimeouts = { usual: 10 * 60_000, shallow: 60_000 };

/** Server for clients of git. Keeps the branches of all repositories in step with the live releases. */
export class GitServer {
  readonly #appliance: Appliance;
  readonly #registry: Registry;
  readonly #deploy: Deploy;
  readonly #stopping: AbortSignal;
  readonly #sessions = new Map<GitSession, Promise<void>>();

  constructor(appliance: Appliance, registry: Registry, deploy: Deploy, stopping: AbortSignal) {
    this.#appliance = appliance;
    this.#registry = registry;
    this.#deploy = deploy;
    this.#stopping = stopping;
  }

  /** True while a client is served, or its push is finished. */
  get isBusy(): boolean {
    return this.#sessions.size > 0;
  }

  /**
   * Starts git for one client. The first push to an app creates the app's repository; a fetch needs one.
   * @throws AppError `invalid_name`, `app_not_found`, `disk_full`, `git_missing`, `stopping`
   */
  async open(app: string, call: GitCall): Promise<GitSession> {
    this.#stopping.throwIfAborted();
    if (call.program === 'git-receive-pack') return this.#openForPush(app, call);
    const repository = await this.#registry.findRepository(app);
    const { maxUploadBytes } = this.#appliance.settings;
    return this.#follow(await GitSession.start(repository.path, call, maxUploadBytes), app);
  }

  async #openForPush(app: string, call: GitCall): Promise<GitSession> {
    await this.#ensureSpace();
    try {
      using opened = new DisposableStack();
      const repository = await this.#registry.beginPush(app);
      opened.defer(() => {
        repository.pushes -= 1;
      });
      const { log, settings } = this.#appliance;
      const liveRelease = (id: EnvironmentId) => this.#liveRelease(id);
      const context = { app, repository, call, log, liveRelease, deploy: this.#deploy };
      const session = await GitSession.start(
        repository.path,
        call,
        settings.maxUploadBytes,
        (session, request) => servePush(session, request, context),
      );
      const entered = opened.move();
      return this.#follow(session, app, async () => {
        entered.dispose();
        // A request for the list of refs changes nothing, but a push that ended meanwhile may wait for its end.
        if (call.mode !== 'advertise' || repository.isBehind) await this.align(app);
        await this.#registry.tidyUp(app);
        if (call.mode !== 'advertise') await this.#collectGarbage(app, repository);
      });
    } catch (error) {
      await this.#registry.tidyUp(app);
      throw error;
    }
  }

  /** Checks the free space, since git would fill the disk before the deploy checks it. @throws AppError `disk_full` */
  async #ensureSpace(): Promise<void> {
    const { paths, settings } = this.#appliance;
    const stores = async () => (await this.#registry.all()).map(({ store }) => store);
    await ensureSpace(paths.apps, { needed: 0, minFree: settings.minFreeBytes, stores });
  }

  /** @param afterwards called when the client has been served */
  #follow(session: GitSession, app: string, afterwards: () => Promise<void> = async () => {}): GitSession {
    const { log } = this.#appliance;
    const finish = async () => {
      try {
        const { code, complaint } = await session.ended;
        if (code !== 0) log.warn('git ended', { app, code, complaint });
      } catch (error) {
        log.error('git failed', { app, error });
      }
      await afterwards().catch((error: unknown) => log.error('git failed', { app, error }));
      this.#sessions.delete(session);
    };
    this.#sessions.set(session, finish());
    return session;
  }

  /** Sets the branches of an app to what runs. Logs errors, since the app runs all the same. */
  async align(app: string): Promise<void> {
    const repository = this.#registry.repository(app);
    try {
      await repository.align(await this.#registry.of(app));
    } catch (error) {
      // Another push may have ended meanwhile and removed the repository of an app without releases. A third push may have
      // made a new repository since.
      const isGone = await this.#registry.lacksRepository(app);
      if (isGone || this.#registry.repository(app) !== repository) return;
      this.#appliance.log.error('branches not moved', { app, error });
    }
  }

  /** Recovers the repositories that the last server left. To be called before the first client connects. */
  async recover(): Promise<void> {
    const slots = new Slots(recoveredAtATime);
    const apps = await this.#registry.names();
    await Promise.all(apps.map((app) => slots.run(() => this.#recoverOne(app))));
  }

  /** Recovers one repository. An error is logged, and the other apps are served. */
  async #recoverOne(app: string): Promise<void> {
    try {
      await sweepTemporaries(this.#appliance.paths.app(app));
      const repository = this.#registry.repository(app);
      if (await repository.exists) await repository.sweepLocks();
      await this.align(app);
      await this.#registry.tidyUp(app);
    } catch (error) {
      this.#appliance.log.error('repository not recovered', { app, error });
    }
  }

  /** Waits a moment for the clients that are served, then ends them. The deploys of their pushes have ended by then. */
  async shutDown(): Promise<void> {
    for (const session of this.#sessions.keys()) session.killUnlessServing();
    const { timedOut } = await withDeadline(Promise.all(this.#sessions.values()), stopTimeout);
    if (timedOut) for (const session of this.#sessions.keys()) void session.kill();
    await Promise.all(this.#sessions.values());
  }

  /** Collects garbage if git finds it worth the time; as a job of the runner, at a low priority. */
  async #collectGarbage(app: string, repository: AppRepository): Promise<void> {
    if (this.#stopping.aborted || !(await repository.exists)) return;
    const isShallow = await repository.isShallow;
    // The push that is under way collects at its end.
    if (isShallow && repository.pushes > 0) return;
    const job: JobSpec = {
      argv: ['git', '-c', 'gc.autoDetach=false', 'gc', '--auto', '--quiet'],
      directory: repository.path,
      env: gitEnvironment({ GIT_DIR: repository.path }),
      user: null,
      lowPriority: true,
      timeout: isShallow ? collectionTimeouts.shallow : collectionTimeouts.usual,
    };
    try {
      // Git would drop a cut commit that a push adds meanwhile, and would then miss the parents of that commit.
      using _ = isShallow ? await repository.refsLock.take(this.#stopping) : null;
      await this.#appliance.runner.call('job', { job }, { signal: this.#stopping });
    } catch (error) {
      if (!this.#stopping.aborted) this.#appliance.log.warn('garbage not collected', { app, error });
    }
  }

  /** Returns the live release of an environment, or null. */
  async #liveRelease({ app, environment: name }: EnvironmentId): Promise<ReleaseRecord | null> {
    const environment = (await this.#registry.of(app)).find(({ id }) => id.environment === name);
    return (await environment?.liveRelease()) ?? null;
  }
}
