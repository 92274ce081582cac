import { type AppRepository, alignBranches } from '../apps/app-repository.ts';
import type { Appliance } from '../apps/appliance.ts';
import type { Registry } from '../apps/registry.ts';
import type { EnvironmentId } from '../config/paths.ts';
import { gitEnvironment } from '../git/git.ts';
import type { Repository } from '../git/repository.ts';
import { type GitService, startService } from '../git/service.ts';
import { ensureSpace } from '../releases/disk.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { sweepTemporaries } from '../system/fs/files.ts';
import { type Deploy, type GitCall, servePush } from './push.ts';
import { GitExchange } from './session.ts';

/** How long pushes may take to end by themselves when the server stops, in ms: their deploys are over by then. */
const grace = 5000;
/** So many repositories are put in order at a time when the server starts. */
const recoveredAtATime = 4;
/** Time limits of a garbage collection, in ms. In a shallow repository, pushes wait at their end for the collection. */
const collectionTimeouts = { usual: 10 * 60_000, shallow: 60_000 };

/** Serves the clients of git, and keeps the repositories in step with what runs. */
export class GitServer {
  readonly #appliance: Appliance;
  readonly #environments: Registry;
  readonly #deploy: Deploy;
  readonly #stopping: AbortSignal;
  readonly #exchanges = new Map<GitExchange, Promise<void>>();

  constructor(appliance: Appliance, environments: Registry, deploy: Deploy, stopping: AbortSignal) {
    this.#appliance = appliance;
    this.#environments = environments;
    this.#deploy = deploy;
    this.#stopping = stopping;
  }

  /**
   * Starts git for one client. The first push to an app makes its repository; to fetch there must be one.
   * @throws AppError `invalid_name`, `app_not_found`, `disk_full`, `git_missing`, `stopping`
   */
  async open(app: string, call: GitCall): Promise<GitExchange> {
    this.#stopping.throwIfAborted();
    return call.service === 'git-receive-pack' ? this.#openForPush(app, call) : this.#openForFetch(app, call);
  }

  async #openForFetch(app: string, call: GitCall): Promise<GitExchange> {
    const { repository } = await this.#environments.findRepository(app);
    return this.#follow(new GitExchange(await this.#start(repository, call)), app);
  }

  async #openForPush(app: string, call: GitCall): Promise<GitExchange> {
    await this.#ensureRoom();
    try {
      using opened = new DisposableStack();
      const { place } = opened.use(await this.#environments.openRepository(app));
      const service = await this.#start(place.repository, call);
      const held = opened.move();
      return this.#follow(this.#receive(app, place, service, call), app, async () => {
        held.dispose();
        // Who only asks what there is changes nothing, but may have been in the way of somebody who has.
        if (call.mode !== 'advertise' || place.isBehind) await this.align(app);
        await this.#environments.tidyUp(app);
        if (call.mode !== 'advertise') await this.#collectGarbage(app, place);
      });
    } catch (error) {
      await this.#environments.tidyUp(app);
      throw error;
    }
  }

  #receive(app: string, place: AppRepository, service: GitService, call: GitCall): GitExchange {
    const { log } = this.#appliance;
    const liveRelease = (target: EnvironmentId) => this.#liveRelease(target);
    const context = { app, place, call, log, liveRelease, deploy: this.#deploy };
    return new GitExchange(service, (exchange, request) => servePush(exchange, service, request, context));
  }

  /** Git itself would fill the disk before the deploy has a say. @throws AppError `disk_full` */
  async #ensureRoom(): Promise<void> {
    const { paths, settings } = this.#appliance;
    const stores = (await this.#environments.all()).map(({ store }) => store);
    await ensureSpace(paths.apps, { needed: 0, minFree: settings.minFreeBytes, stores });
  }

  #start({ path }: Repository, call: GitCall): Promise<GitService> {
    const { maxUploadBytes } = this.#appliance.settings;
    return startService(path, call.service, { ...call, maxInput: maxUploadBytes });
  }

  /** @param afterwards what is left to do when the client has been served */
  #follow(exchange: GitExchange, app: string, afterwards: () => Promise<void> = async () => {}): GitExchange {
    const { log } = this.#appliance;
    const over = async () => {
      try {
        const { code, complaint } = await exchange.ended;
        if (code !== 0) log.warn('git ended', { app, code, complaint });
      } catch (error) {
        log.error('git failed', { app, error });
      }
      await afterwards().catch((error: unknown) => log.error('git failed', { app, error }));
      this.#exchanges.delete(exchange);
    };
    this.#exchanges.set(exchange, over());
    return exchange;
  }

  /** Makes the branches of an app say what runs. What goes wrong with that is logged: the app runs all the same. */
  async align(app: string): Promise<void> {
    const place = this.#environments.repository(app);
    try {
      await alignBranches(place, await this.#environments.of(app));
    } catch (error) {
      // Another push may have ended meanwhile and removed the repository of an app that had nothing; a third push may have
      // made a new repository since.
      if ((await this.#environments.lacksRepository(app)) || this.#environments.repository(app) !== place)
        return;
      this.#appliance.log.error('branches not moved', { app, error });
    }
  }

  /** Puts the repositories in order that the last server has left, before the first client comes. */
  async recover(): Promise<void> {
    const slots = new Slots(recoveredAtATime);
    const recoverNext = async (app: string) => {
      using _slot = await slots.take();
      await this.#recoverOne(app);
    };
    await Promise.all((await this.#environments.names()).map(recoverNext));
  }

  /** One that is beyond us must not keep the others from being served. */
  async #recoverOne(app: string): Promise<void> {
    try {
      await sweepTemporaries(this.#appliance.paths.app(app));
      const { repository } = this.#environments.repository(app);
      if (await repository.isThere) {
        await repository.sweepLocks();
        await this.align(app);
      }
      await this.#environments.tidyUp(app);
    } catch (error) {
      this.#appliance.log.error('repository not put in order', { app, error });
    }
  }

  /** Lets the clients that are served come to an end, for a moment: what they wait for is over. */
  async windDown(): Promise<void> {
    for (const exchange of this.#exchanges.keys()) exchange.killUnlessAsked();
    const { timedOut } = await withDeadline(Promise.all(this.#exchanges.values()), grace);
    if (timedOut) for (const exchange of this.#exchanges.keys()) exchange.kill();
    await Promise.all(this.#exchanges.values());
  }

  /** Now and then, by git's own rules for when it is worth it; as a job, so that live traffic comes first. */
  async #collectGarbage(app: string, place: AppRepository): Promise<void> {
    const { repository } = place;
    if (this.#stopping.aborted || !(await repository.isThere)) return;
    const isShallow = await repository.isShallow;
    // A push that is under way collects at its end.
    if (isShallow && place.isBusy) return;
    const argv: [string, ...string[]] = ['git', '-c', 'gc.autoDetach=false', 'gc', '--auto', '--quiet'];
    const job = {
      argv,
      directory: repository.path,
      env: gitEnvironment({ GIT_DIR: repository.path }),
      user: null,
      lowPriority: true,
      timeout: isShallow ? collectionTimeouts.shallow : collectionTimeouts.usual,
    };
    try {
      // Git would drop a cut commit that a push adds meanwhile, and would then miss the parents of that commit.
      using _ = isShallow ? await place.refs.take(this.#stopping) : null;
      await this.#appliance.runner.call('job', { job }, { signal: this.#stopping });
    } catch (error) {
      if (!this.#stopping.aborted) this.#appliance.log.warn('garbage not collected', { app, error });
    }
  }

  /** Null where none is live. */
  async #liveRelease(target: EnvironmentId): Promise<ReleaseRecord | null> {
    const environment = (await this.#environments.of(target.app)).find(
      (each) => each.id.environment === target.environment,
    );
    const active = await environment?.store.active();
    if (environment === undefined || !active) return null;
    return (await environment.store.get(active.release)) ?? null;
  }
}
