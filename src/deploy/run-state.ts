import type { Environment } from '../apps/environment.ts';
import { AppError } from '../errors/app-error.ts';
import { hasWorkers, type ReleaseRecord } from '../releases/release.ts';
import { moveTraffic, type TrialChange } from './traffic.ts';

/**
 * Changes of the workers of an environment, whose caller holds the lock `environment.trafficLock`.
 * @throws AppError `not_deployed`; errors of a failed boot or switch
 */
export type RunStateChange = (environment: Environment, signal: AbortSignal) => Promise<void>;

/** Switches to a new generation of the live release. */
export const restart: RunStateChange = async (environment, signal) => {
  await moveTraffic(environment, await environment.requireLiveRelease(), signal, { restart: true });
};

/**
 * Restarts one background process, such as `mail.0`, or all with a name, with the variables that they have. Workers are not touched.
 * @throws AppError `process_not_found`
 */
export async function restartProcess(
  environment: Environment,
  process: string,
  signal: AbortSignal,
): Promise<void> {
  const { appliance, name: key, trafficLock } = environment;
  const live = await environment.requireLiveRelease();
  // The boot of a release without workers ends these processes. Otherwise a deploy need not wait until they have ended.
  using _ = hasWorkers(live) ? undefined : await trafficLock.take(signal);
  await appliance.runner.call('restartProcess', { key, process });
}

/** Starts the live release unless it runs. */
export const start: RunStateChange = async (environment, signal) => {
  const release = await environment.requireLiveRelease();
  if (!(await environment.isRunning())) await moveTraffic(environment, release, signal);
};

/** Drains and ends all workers. The app stays stopped, also over restarts of Sluice, until a start or a deploy. */
export const stop: RunStateChange = async (environment) => {
  await environment.desire('stopped');
  await environment.appliance.runner.call('stop', { key: environment.name });
};

/**
 * Sets the number of workers of this and later releases; null restores the number of the release.
 * @throws AppError `without_port` if the live release has no workers
 */
export function scale(workers: number | null): RunStateChange {
  return async (environment, signal) => {
    const live = await environment.liveRelease();
    if (workers !== null && live !== undefined && !hasWorkers(live)) throw nothingToScale(environment);
    const keep = () => environment.changeState({ workers });
    // Without workers, a switch would restart the background processes, and nothing else would change.
    if (live === undefined || !hasWorkers(live)) return await keep();
    await applyChange(environment, live, { workers, files: [environment.paths.state], keep }, signal);
  };
}

function nothingToScale({ name }: Environment): AppError {
  const hint =
    'Set "count" of a process in sluice.json, such as {"processes": {"main": {"command": "node bot.js", "count": 2}}}, and deploy.';
  return new AppError('without_port', `${name} has no workers: it runs only background processes`, { hint });
}

/**
 * Applies a change: by a switch if the app runs, else for its next start. The caller holds the lock `environment.trafficLock`.
 * @param live release for which the change was planned
 * @returns true if the traffic was switched
 */
export async function applyChange(
  environment: Environment,
  live: ReleaseRecord,
  change: TrialChange,
  signal: AbortSignal,
): Promise<boolean> {
  const isSwitched = await environment.isRunning();
  if (isSwitched) await moveTraffic(environment, live, signal, { change, restart: true });
  else await change.keep();
  return isSwitched;
}
