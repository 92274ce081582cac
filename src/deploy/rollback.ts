import type { Environment } from '../apps/environment.ts';
import { releaseNotFound, releaseView } from '../apps/release-view.ts';
import { AppError } from '../errors/app-error.ts';
import type { BootResult } from '../protocol/runner.ts';
import type { Release, ReleaseRecord } from '../releases/release.ts';
import { previousLive, type ReleaseOutline } from '../releases/store.ts';
import type { DeployWatcher } from './events.ts';
import { failingProcesses } from './failing-processes.ts';
import { Progress } from './progress.ts';
import { hasItsVariables } from './same-variables.ts';
import { moveTraffic } from './traffic.ts';

/**
 * Moves the traffic back to a release that was live before. Does not wait for a build that is under way: the release
 * that is being built goes live afterwards, because it is newer.
 * @param requested number of the release; null for the newest one before the active release that was live and still exists
 * @throws AppError `release_not_found`, `nothing_to_roll_back_to`; errors of a failed boot or switch
 */
export async function rollback(
  environment: Environment,
  requested: number | null,
  signal: AbortSignal,
  watch: DeployWatcher,
): Promise<Release> {
  const progress = new Progress(watch, environment.appliance.log, signal);
  let number = requested;
  try {
    using traffic = await environment.trafficLock.take(signal);
    const { chosen, restart } = await chooseRelease(environment, requested);
    number = chosen.number;
    progress.accept(environment.id, number);
    const isProven = await hasItsVariables(environment, chosen);
    let wasWarm = false;
    const booted = (result: BootResult) => {
      wasWarm = result.wasWarm ?? false;
    };
    const move = () =>
      moveTraffic(environment, chosen, signal, { observer: progress, booted, isProven, restart });
    await move().catch((error: unknown) => {
      // A worker on standby has ended since the check.
      if (!wasWarm || !(error instanceof AppError) || error.code !== 'switch_failed') throw error;
      return move();
    });
    traffic[Symbol.dispose]();
    for (const notice of await failingProcesses(environment, chosen))
      progress.emit({ event: 'notice', ...notice });
    const release = await releaseView(environment, number);
    progress.finish(release);
    return release;
  } catch (error) {
    const failure = progress.fail(error);
    if (failure !== undefined) {
      const record = number === null ? undefined : await environment.store.get(number);
      const release = record === undefined ? null : await releaseView(environment, record.number);
      progress.emit({ event: 'failed', release, error: failure });
    }
    throw error;
  }
}

/** Returns the release that is to go live. `restart`: it is live already. */
async function chooseRelease(
  { name, store }: Environment,
  requested: number | null,
): Promise<{ chosen: ReleaseRecord; restart: boolean }> {
  const active = await store.active();
  if (active === null) throw impossible(name, `${name} has had no release live`, []);
  const retained = await store.retained();
  if (requested === null) {
    const previous = previousLive(retained, active.release);
    const found = previous && (await store.get(previous.number));
    if (found !== undefined) return { chosen: found, restart: false };
    throw impossible(name, `no release before ${active.release} was live and still exists`, retained);
  }
  const record = await store.get(requested);
  if (record === undefined) throw releaseNotFound(name, requested);
  const restart = requested === active.release;
  if (restart || retained.some(({ number }) => number === requested)) return { chosen: record, restart };
  const why = record.liveAt === null ? 'never was live' : 'is gone: its files were removed to save space';
  throw impossible(name, `release ${requested} ${why}`, retained);
}

function impossible(name: string, message: string, retained: ReleaseOutline[]): AppError {
  const numbers = retained.map(({ number }) => number).join(', ');
  const hint =
    numbers === ''
      ? `${name} has no other release to go back to. Deploy the code that you want.`
      : `Releases that ${name} can go back to: ${numbers}.`;
  return new AppError('nothing_to_roll_back_to', message, { hint });
}
