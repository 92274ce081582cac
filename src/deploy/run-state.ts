import { availableParallelism } from 'node:os';
import type { Environment } from '../apps/environment.ts';
import { AppError } from '../errors/app-error.ts';
import { moveTraffic, type TrialChange } from './traffic.ts';

const maxWorkers = 64;

/** Switches to a new generation of the live release. @throws AppError `not_deployed`; errors of a failed boot or switch */
export async function restart(environment: Environment, signal: AbortSignal): Promise<void> {
  using _traffic = await environment.trafficLock.take(signal);
  await moveTraffic(environment, await environment.requireLiveRelease(), signal);
}

/** Starts the live release unless it runs. @throws AppError `not_deployed`; errors of a failed boot or switch */
export async function start(environment: Environment, signal: AbortSignal): Promise<void> {
  using _traffic = await environment.trafficLock.take(signal);
  const release = await environment.requireLiveRelease();
  if (!(await environment.isRunning())) await moveTraffic(environment, release, signal);
}

/** Drains and ends all workers. The app stays stopped, also over restarts of Sluice, until a start or a deploy. */
export async function stop(environment: Environment, signal: AbortSignal): Promise<void> {
  using _traffic = await environment.trafficLock.take(signal);
  await environment.desire('stopped');
  await environment.appliance.runner.call('stop', { key: environment.name });
}

/**
 * Sets the number of workers; null restores the number of the release.
 * @throws AppError `bad_request`; errors of a failed boot or switch
 */
export async function scale(
  environment: Environment,
  workers: number | null,
  signal: AbortSignal,
): Promise<void> {
  if (workers !== null && !(Number.isInteger(workers) && workers >= 1 && workers <= maxWorkers)) {
    throw new AppError('bad_request', `invalid worker count: ${workers} (expected 1 to ${maxWorkers})`, {
      hint: `Use null for the number that the release sets. This machine has ${availableParallelism()} cores.`,
    });
  }
  using _traffic = await environment.trafficLock.take(signal);
  const keep = () => environment.changeState({ workers });
  await applyChange(environment, { workers, file: environment.paths.state, keep }, signal);
}

/**
 * Applies a change: by a switch if the app runs, else for its next start. The caller holds the lock `environment.trafficLock`.
 * @returns true if the traffic was switched
 */
export async function applyChange(
  environment: Environment,
  change: TrialChange,
  signal: AbortSignal,
): Promise<boolean> {
  const isSwitched = await environment.isRunning();
  if (isSwitched) await moveTraffic(environment, await environment.requireLiveRelease(), signal, { change });
  else await change.keep();
  return isSwitched;
}
