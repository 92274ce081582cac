import { availableParallelism } from 'node:os';
import type { Site } from '../apps/environment.ts';
import { AppError } from '../errors/app-error.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { keepAside } from '../system/fs/files.ts';
import type { SpecChanges } from './spec.ts';
import { Generation } from './traffic.ts';

/** Switches to a fresh generation of the active release. @throws AppError `not_deployed`; what a boot can throw */
export async function restart(site: Site, signal: AbortSignal): Promise<void> {
  using _traffic = await site.traffic.take(signal);
  await refresh(site, await activeRelease(site), signal);
}

/** Starts the active release unless it runs. @throws AppError `not_deployed`; what a boot can throw */
export async function start(site: Site, signal: AbortSignal): Promise<void> {
  using _traffic = await site.traffic.take(signal);
  const release = await activeRelease(site);
  if (!(await isRunning(site))) await refresh(site, release, signal);
}

/** Ends all workers, what is in flight first. It stays so, over restarts of Sluice too, until a start or a deploy. */
export async function stop(site: Site, signal: AbortSignal): Promise<void> {
  using _traffic = await site.traffic.take(signal);
  await site.desire('stopped');
  await site.appliance.runner.call('stop', { key: site.name });
}

/** Sets the number of workers; null goes back to what the release says. @throws AppError `bad_request`, what a boot can throw */
export async function scale(site: Site, workers: number | null, signal: AbortSignal): Promise<void> {
  if (workers !== null && !(Number.isInteger(workers) && workers >= 1 && workers <= maxWorkers)) {
    throw new AppError('bad_request', `${workers} is no number of workers`, {
      hint: `From 1 to ${maxWorkers}, or null for what the release says. This machine has ${availableParallelism()} cores.`,
    });
  }
  using _traffic = await site.traffic.take(signal);
  const keep = () => site.changeState({ workers });
  await applyIfRunning(site, { workers }, signal, { file: site.paths.state, keep });
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
  site: Site,
  changes: SpecChanges,
  signal: AbortSignal,
  { file, keep }: Keeping,
): Promise<boolean> {
  if (!(await isRunning(site))) {
    await keep();
    return false;
  }
  await using generation = await Generation.boot(site, await activeRelease(site), { signal, ...changes });
  signal.throwIfAborted();
  await using before = await keepAside(file);
  try {
    await keep();
    await generation.switch();
    site.isAhead = false;
  } catch (error) {
    await before.restore().catch((cause: unknown) => {
      site.isAhead = true;
      site.appliance.log.error('change not taken back', { app: site.name, file, error: cause });
    });
    throw error;
  }
  return true;
}

/** Boots a fresh generation of `release` and switches to it. */
async function refresh(site: Site, release: ReleaseRecord, signal: AbortSignal): Promise<void> {
  await using generation = await Generation.boot(site, release, { signal });
  signal.throwIfAborted();
  await generation.switch();
  site.isAhead = false;
}

/** Whether the active release should run and, as far as the runner knows, does. */
export async function isRunning(site: Site): Promise<boolean> {
  const running = await site.appliance.runner.status();
  return running.some(({ key, active }) => key === site.name && active !== null);
}

/** The release that has the traffic, or had it last. @throws AppError `not_deployed` */
export async function activeRelease(site: Site): Promise<ReleaseRecord> {
  const active = await site.store.active();
  const record = active === null ? undefined : await site.store.get(active.release);
  if (record !== undefined) return record;
  throw new AppError('not_deployed', `${site.name} has no live release`, {
    hint: `Deploy one: \`sluice deploy --app ${site.target.app}\`.`,
  });
}
