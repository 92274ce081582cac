import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Appliance } from '../apps/appliance.ts';
import type { Environment } from '../apps/environment.ts';
import { prepareFiles } from '../apps/files.ts';
import type { Registry } from '../apps/registry.ts';
import { ensurePortRecord } from '../config/environment-state.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { currentLog } from '../logs/files.ts';
import type { EnvironmentStatus } from '../protocol/runner.ts';
import { backoffDelay } from '../system/concurrency/retry.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { moveTraffic } from './traffic.ts';
import { recordRevert } from './watch.ts';

/** Number of apps that start at the same time, as after a reboot. */
const concurrentStarts = Math.max(2, availableParallelism());
/** Time after which an app that is still starting no longer delays the next ones, in ms. */
const slowStart = 5000;
/** Delays before an app that did not start is tried again, in ms. */
const retry = { initial: 1000, factor: 2, ceiling: 60_000 };
/** Longest time to wait for a switch that an earlier server began, in ms. The runner has its own, shorter limits. */
const switchTimeout = 10_000;

/**
 * Repairs the files after a crash of the last server, before the first deploy of this one. First waits for a switch that
 * the runner may still be making for the last server.
 */
export async function recoverFiles(appliance: Appliance, registry: Registry): Promise<void> {
  const { runner, log, paths, settings } = appliance;
  const deadline = performance.now() + switchTimeout;
  while ((await runner.status()).some(mayBeSwitching) && performance.now() < deadline) await delay(20);
  await registry.sweep().catch((error: unknown) => log.error('home not put in order', { error }));
  await ensurePortRecord(paths, settings.apps.firstPort).catch((error: unknown) =>
    log.error('ports not recorded', { error }),
  );
  for (const environment of await registry.all()) {
    try {
      await recordRevert(environment);
      await prepareFiles(environment);
      const releases = await environment.store.reconcile();
      if (releases.length > 0) log.warn('deploys were interrupted', { app: environment.name, releases });
    } catch (error) {
      // An app whose files cannot be repaired must not stop the other apps.
      log.error('app not put in order', { app: environment.name, error });
    }
  }
}

function mayBeSwitching({ active, workers, background }: EnvironmentStatus): boolean {
  if (background.some(({ state }) => state === 'starting')) return true;
  return workers.some(({ generation }) => generation > (active?.generation ?? 0));
}

const defaultSleep = (milliseconds: number, signal: AbortSignal): Promise<unknown> =>
  delay(milliseconds, undefined, { signal });

/** Starts the apps that should run and do not, whenever a runner connects. Tries again later if an app does not start. */
export class Recovery {
  readonly #appliance: Appliance;
  readonly #registry: Registry;
  readonly #rebuild: (environment: Environment, release: number) => Promise<unknown>;
  readonly #sleep: typeof defaultSleep;
  readonly #stopped = new AbortController();
  readonly #slots = new Slots(concurrentStarts);
  /** the last attempt for each environment */
  readonly #attempts = new Map<Environment, Promise<void>>();
  readonly #rebuilds = new Map<Environment, Promise<void>>();
  readonly #settled = Promise.withResolvers<void>();
  /** true if a release could not be rebuilt */
  #hasFailedRebuild = false;
  /** number of starts and attempts under way */
  #underWay = 0;

  /** @param rebuild deploys a release again from its commit, if a backup without its files was restored */
  constructor(
    appliance: Appliance,
    registry: Registry,
    rebuild: (environment: Environment, release: number) => Promise<unknown>,
    sleep = defaultSleep,
  ) {
    this.#appliance = appliance;
    this.#registry = registry;
    this.#rebuild = rebuild;
    this.#sleep = sleep;
  }

  /** Starts all apps that should run, the last used ones first. Never rejects. */
  async startAll(): Promise<void> {
    this.#underWay += 1;
    try {
      const environments = await lastUsedFirst(await this.#registry.all());
      await Promise.all(environments.map((environment) => this.#startNext(environment)));
    } catch (error) {
      this.#appliance.log.error('apps not started', { error });
    }
    this.#underWay -= 1;
    this.#settled.resolve();
  }

  /**
   * True while an app is started or rebuilt, or waits for its next attempt, and after a failed rebuild: each next server would rebuild
   * the release, and each try leaves a failed release.
   */
  get isBusy(): boolean {
    return this.#underWay > 0 || this.#rebuilds.size > 0 || this.#hasFailedRebuild;
  }

  /** Resolves when each app that should run does, or has failed to start once. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#attempts.values());
    await Promise.all(this.#rebuilds.values());
  }

  /**
   * Waits for an attempt under way, which may have used a lost runner, and then begins another. Resolves when the app has
   * been tried once.
   */
  #startNext(environment: Environment): Promise<void> {
    const former = this.#attempts.get(environment) ?? Promise.resolve();
    const { promise: tried, resolve } = Promise.withResolvers<void>();
    this.#underWay += 1;
    const attempt = former
      .then(() => this.#keepTrying(environment, resolve))
      .finally(() => {
        this.#underWay -= 1;
        resolve();
      });
    this.#attempts.set(environment, attempt);
    return tried;
  }

  async #keepTrying(environment: Environment, onTried: () => void): Promise<void> {
    const { signal } = this.#stopped;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await this.#sleep(backoffDelay(failures, retry), signal);
        await this.#start(environment, signal);
        environment.problem = null;
        return;
      } catch (error) {
        const isRemoved = error instanceof AppError && error.code === 'app_not_found';
        if (signal.aborted || isRemoved) return;
        environment.problem = { at: new Date().toISOString(), ...errorBody(error) };
        this.#appliance.log.error('app not started', { app: environment.name, failures, error });
        onTried();
      }
    }
  }

  async #start(environment: Environment, signal: AbortSignal): Promise<void> {
    // The slot comes first: it keeps the order of the apps.
    using slot = await this.#slots.take(signal);
    using _timer = setTimeout(() => slot[Symbol.dispose](), slowStart);
    using _traffic = await environment.trafficLock.take(signal);
    const { desired, rebuild } = await environment.state();
    if (desired !== 'running') return;
    if ((await environment.store.active()) === null) {
      if (rebuild !== null) this.#startRebuild(environment, rebuild);
      return;
    }
    if (rebuild !== null) await environment.changeState({ rebuild: null });
    if (await environment.isRunning()) return;
    const release = await environment.requireLiveRelease();
    await moveTraffic(environment, release, signal);
    this.#appliance.log.info('app started', { app: environment.name, release: release.number });
  }

  /**
   * Rebuilds in the background, because a build takes long. A failed build is tried again at the next start of the server
   * only: each try leaves a failed release.
   */
  #startRebuild(environment: Environment, release: number): void {
    if (this.#rebuilds.has(environment)) return;
    const { log } = this.#appliance;
    const rebuild = this.#rebuild(environment, release)
      .then(() => environment.changeState({ rebuild: null }))
      .catch((error: unknown) => {
        if (this.#stopped.signal.aborted) return;
        log.error('app not rebuilt', { app: environment.name, release, error });
        this.#hasFailedRebuild = true;
      })
      .finally(() => this.#rebuilds.delete(environment));
    this.#rebuilds.set(environment, rebuild);
  }
}

/** Sorts apps by their last line in the log or their last switch. */
async function lastUsedFirst(environments: Environment[]): Promise<Environment[]> {
  const used = await Promise.all(
    environments.map(async (environment) => {
      const { logs, generation } = environment.paths;
      const times = await Promise.all([join(logs, currentLog), generation].map(modifiedAt));
      return { environment, at: Math.max(...times) };
    }),
  );
  return used.sort((a, b) => b.at - a.at).map(({ environment }) => environment);
}

/** Returns 0 if the file does not exist or cannot be read: its app starts all the same. */
async function modifiedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
