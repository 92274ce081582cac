import { availableParallelism } from 'node:os';
import type { Environment } from '../apps/environment.ts';
import { AppError } from '../errors/app-error.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { keepAside } from '../system/fs/files.ts';
import type { SpecChanges } from './spec.ts';
import { Generation } from './traffic.ts';

/** Switches to a fresh generation of the active release. @throws AppError `not_deployed`; what a boot can throw */
export async function restart(environment: Environment, signal: AbortSignal): Promise<void> {
  using _traffic = await environment.traffic.take(signal);
  await refresh(environment, await activeRelease(environment), signal);
}

/** Starts the active release unless it runs. @throws AppError `not_deployed`; what a boot can throw */
export async function start(environment: Environment, signal: AbortSignal): Promise<void> {
  using _traffic = await environment.traffic.take(signal);
  const release = await activeRelease(environment);
  if (!(await isRunning(environment))) await refresh(environment, release, signal);
}

/** Ends all workers, what is in flight first. It stays so, over restarts of Sluice too, until a start or a deploy. */
export async function stop(environment: Environment, signal: AbortSignal): Promise<void> {
  using _traffic = await environment.traffic.take(signal);
  await environment.desire('stopped');
  await environment.appliance.runner.call('stop', { key: environment.name });
}

/** Sets the number of workers; null goes back to what the release says. @throws AppError `bad_request`, what a boot can throw */
export async function scale(
  environment: Environment,
  workers: number | null,
  signal: AbortSignal,
): Promise<void> {
  if (workers !== null && !(Number.isInteger(workers) && workers >= 1 && workers <= maxWorkers)) {
    throw new AppError('bad_request', `${workers} is no number of workers`, {
      hint: `From 1 to ${maxWorkers}, or null for what the release says. This machine has ${availableParallelism()} cores.`,
    });
  }
  using _traffic = await environment.traffic.take(signal);
  const keep = () => environment.changeState({ workers });
  await applyIfRunning(environment, { workers }, signal, { file: environment.paths.state, keep });
}

const maxWorkers = 64;

/** The way to keep a change: `keep` replaces `file`. */
interface Keeping {
  file: string;
  keep(): Promise<void>;
}

/**
 * Boots the running app with a change, keeps the change, and switches to the new workers. If the boot or the switch fails,
 * the change is not kept: it would take effect at the next restart.
 * @returns whether it runs, and so has been switched
 */
export async function applyIfRunning(
  environment: Environment,
  changes: SpecChanges,
  signal: AbortSignal,
  { file, keep }: Keeping,
): Promise<boolean> {
  if (!(await isRunning(environment))) {
    await keep();
    return false;
  }
  await using generation = await Generation.boot(environment, await activeRelease(environment), {
    signal,
    ...changes,
  });
  signal.throwIfAborted();
  await using before = await keepAside(file);
  try {
    await keep();
    await generation.switch();
    environment.isAhead = false;
  } catch (error) {
    await before.restore().catch((cause: unknown) => {
      environment.isAhead = true;
      environment.appliance.log.error('change not taken back', { app: environment.name, file, error: cause });
    });
    throw error;
  }
  return true;
}

/** Boots a fresh generation of `release` and switches to it. */
async function refresh(environment: Environment, release: ReleaseRecord, signal: AbortSignal): Promise<void> {
  await using generation = await Generation.boot(environment, release, { signal });
  signal.throwIfAborted();
  await generation.switch();
  environment.isAhead = false;
}

/** Whether the active release should run and, as far as the runner knows, does. */
export async function isRunning(environment: Environment): Promise<boolean> {
  const running = await environment.appliance.runner.status();
  return running.some(({ key, active }) => key === environment.name && active !== null);
}

/** The release that has the traffic, or had it last. @throws AppError `not_deployed` */
export async function activeRelease(environment: Environment): Promise<ReleaseRecord> {
  const active = await environment.store.active();
  const record = active === null ? undefined : await environment.store.get(active.release);
  if (record !== undefined) return record;
  throw new AppError('not_deployed', `${environment.name} has no live release`, {
    hint: `Deploy one: \`sluice deploy --app ${environment.id.app}\`.`,
  });
}
