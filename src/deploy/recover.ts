import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Appliance } from '../apps/appliance.ts';
import type { Environment } from '../apps/environment.ts';
import type { Registry } from '../apps/registry.ts';
import type { EnvironmentId } from '../config/paths.ts';
import { errorBody } from '../errors/app-error.ts';
import { currentLog } from '../logs/files.ts';
import type { EnvironmentStatus } from '../protocol/runner.ts';
import { backoffDelay } from '../system/concurrency/retry.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { activeRelease, isRunning } from './scale.ts';
import { Generation } from './traffic.ts';

/** How many apps are started at a time when all are to be, as after a reboot. */
const atATime = Math.max(2, availableParallelism());
/** One that has taken this long to start no longer holds up those behind it; in ms. */
const slowStart = 5000;
/** How long a switch may take that an earlier server began, in ms: its bounds are the runner's own. */
const switchDeadline = 10_000;

/**
 * Brings the disk into order after whatever ended the last server, before the first deploy of this one. A runner that
 * has outlived that server may still be at a switch: what that comes to is waited for.
 */
export async function putInOrder(appliance: Appliance, environments: Registry): Promise<void> {
  const deadline = performance.now() + switchDeadline;
  while ((await appliance.runner.status()).some(isUndecided) && performance.now() < deadline) {
    await sleep(20);
  }
  await environments.sweep().catch((error: unknown) => {
    appliance.log.error('home not put in order', { error });
  });
  for (const environment of await environments.all()) {
    try {
      await environment.files.prepare();
      const releases = await environment.store.reconcile();
      if (releases.length > 0)
        appliance.log.warn('deploys were interrupted', { app: environment.name, releases });
    } catch (error) {
      // One app whose files are beyond us must not keep all the others from being served.
      appliance.log.error('app not put in order', { app: environment.name, error });
    }
  }
}

/** Whether something has been booted of which nobody can say yet whether it will be switched to. */
function isUndecided({ active, workers }: EnvironmentStatus): boolean {
  return workers.some(({ generation }) => generation > (active?.generation ?? 0));
}

/**
 * Sees to it that what should run does: asked again whenever a runner has been connected to, it starts what that one
 * does not run, and tries again later what does not start.
 */
export class Reviver {
  readonly #appliance: Appliance;
  readonly #environments: Registry;
  readonly #stopped = new AbortController();
  readonly #slots = new Slots(atATime);
  readonly #rebuild: (target: EnvironmentId, release: number) => Promise<void>;
  readonly #rebuilding = new Map<Environment, Promise<void>>();
  /** the last attempt for each environment */
  readonly #attempts = new Map<Environment, Promise<void>>();
  readonly #settled = Promise.withResolvers<void>();

  /** @param rebuild makes a release live again whose files are not here, but its commit */
  constructor(
    appliance: Appliance,
    environments: Registry,
    rebuild: (target: EnvironmentId, release: number) => Promise<void>,
  ) {
    this.#appliance = appliance;
    this.#environments = environments;
    this.#rebuild = rebuild;
  }

  reviveAll(): void {
    this.#environments
      .all()
      .then(lastUsedFirst)
      .then(
        (environments) => Promise.all(environments.map((environment) => this.#reviveNext(environment))),
        (error: unknown) => this.#appliance.log.error('apps not started', { error }),
      )
      .then(() => this.#settled.resolve());
  }

  /** Until each app that should run does, or has failed to start once. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#attempts.values());
    await Promise.all(this.#rebuilding.values());
  }

  /**
   * After the attempt that may be under way: that one may have looked at a runner that is gone.
   * @returns when it has been tried once, whatever came of it
   */
  #reviveNext(environment: Environment): Promise<void> {
    const attempt = this.#attempts.get(environment) ?? Promise.resolve();
    const tried = Promise.withResolvers<void>();
    this.#attempts.set(
      environment,
      attempt.then(() => this.#keepTrying(environment, tried.resolve)).finally(tried.resolve),
    );
    return tried.promise;
  }

  async #keepTrying(environment: Environment, whenTried: () => void): Promise<void> {
    const { signal } = this.#stopped;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await sleep(backoffDelay(failures, { initial: 1000, factor: 2, ceiling: 60_000 }), undefined, {
          signal,
        });
        await this.#revive(environment);
        environment.problem = null;
        return;
      } catch (error) {
        if (signal.aborted) return;
        environment.problem = { at: new Date().toISOString(), ...errorBody(error) };
        this.#appliance.log.error('app not started', { app: environment.name, failures, error });
        whenTried();
      }
    }
  }

  /**
   * A build takes its time, which nobody else is to wait for. One that fails is not tried again before the next start:
   * it leaves a release with its log each time, and what is missing is seldom only time.
   */
  #startBuilding(environment: Environment, release: number): void {
    if (this.#rebuilding.has(environment)) return;
    const { log } = this.#appliance;
    const building = this.#rebuild(environment.id, release)
      .then(() => environment.changeState({ rebuild: null }))
      .catch((error: unknown) => {
        if (this.#stopped.signal.aborted) return;
        log.error('app not rebuilt', { app: environment.name, release, error });
      });
    const over = building.finally(() => this.#rebuilding.delete(environment));
    this.#rebuilding.set(environment, over);
  }

  async #revive(environment: Environment): Promise<void> {
    // Before anything else is awaited: those that were used last come first.
    using slot = await this.#slots.take(this.#stopped.signal);
    const missing = await releaseToBuild(environment);
    if (missing !== null) return this.#startBuilding(environment, missing);
    using timers = new DisposableStack();
    timers.adopt(
      setTimeout(() => slot[Symbol.dispose](), slowStart),
      clearTimeout,
    );
    using _traffic = await environment.traffic.take(this.#stopped.signal);
    if (!(await shouldRun(environment)) || (await isRunning(environment))) return;
    const release = await activeRelease(environment);
    await using generation = await Generation.boot(environment, release, { signal: this.#stopped.signal });
    await generation.switch();
    this.#appliance.log.info('app started', { app: environment.name, release: release.number });
  }
}

/** The release that a restored app ran, where it has none since; null where there is nothing to do. */
async function releaseToBuild(environment: Environment): Promise<number | null> {
  const { rebuild, desired } = await environment.state();
  if (rebuild === null || desired !== 'running') return null;
  if ((await environment.store.active()) === null) return rebuild;
  await environment.changeState({ rebuild: null });
  return null;
}

async function shouldRun(environment: Environment): Promise<boolean> {
  if ((await environment.store.active()) === null) return false;
  return (await environment.state()).desired === 'running';
}

/** The order in which apps come back: by when they last wrote into their log, or had a switch. */
async function lastUsedFirst(environments: Environment[]): Promise<Environment[]> {
  const used = await Promise.all(
    environments.map(async (environment) => {
      const traces = [join(environment.paths.logs, currentLog), environment.paths.generation];
      return { environment, at: Math.max(...(await Promise.all(traces.map(changedAt)))) };
    }),
  );
  return used.sort((a, b) => b.at - a.at).map(({ environment }) => environment);
}

/** 0 where there is nothing, or nothing that can be seen: an app is started all the same. */
async function changedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch {
    return 0;
  }
}
