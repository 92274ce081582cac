import type { Environment } from '../apps/environment.ts';
import { releaseNotFound, releaseView } from '../apps/release-view.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { Release, ReleaseRecord } from '../releases/release.ts';
import type { DeployEvent, DeployStep } from './events.ts';
import { Generation } from './traffic.ts';

/**
 * Moves the traffic back to a release that was live before: the end of the deploy recipe, with the same switch. It does
 * not wait for a build that is under way; what is being built goes live after it, as the newer of the two.
 * @param wanted null for the newest release before the active one that was live and is still there
 */
export async function rollback(
  environment: Environment,
  wanted: number | null,
  signal: AbortSignal,
  watch: (event: DeployEvent) => void,
): Promise<Release> {
  const startedAt = performance.now();
  let step: DeployStep | null = null;
  let number = wanted;
  const enter = (next: DeployStep) => {
    signal.throwIfAborted();
    step = next;
    watch({ event: 'step', step: next, at: new Date().toISOString() });
  };
  try {
    using _traffic = await environment.traffic.take(signal);
    const record = await choose(environment, wanted);
    number = record.number;
    watch({ event: 'accepted', ...environment.id, release: number });
    enter('boot');
    await using generation = await Generation.boot(environment, record, {
      signal,
      onLine: (line) => watch({ event: 'log', line }),
    });
    enter('switch');
    await generation.switch();
    const release = await releaseView(environment, number);
    watch({ event: 'live', release, tookMs: Math.round(performance.now() - startedAt) });
    return release;
  } catch (error) {
    const release = number === null ? null : await releaseViewIfThere(environment, number);
    watch({ event: 'failed', release, error: { ...errorBody(error), step } });
    throw error;
  }
}

async function choose(environment: Environment, wanted: number | null): Promise<ReleaseRecord> {
  const active = await environment.store.active();
  if (active === null) throw impossible(environment, `${environment.name} has had no release live`, []);
  const retained = await environment.store.retained();
  if (wanted === null) {
    const previous = await environment.store.previous();
    if (previous !== undefined) return previous;
    throw impossible(
      environment,
      `there is no release before ${active.release} that was live and is still there`,
      retained,
    );
  }
  const record = await environment.store.get(wanted);
  if (record === undefined) throw releaseNotFound(environment, wanted);
  if (retained.some(({ number }) => number === wanted) || wanted === active.release) return record;
  const why = record.liveAt === null ? 'never was live' : 'is gone: its files were removed to save space';
  throw impossible(environment, `release ${wanted} ${why}`, retained);
}

function impossible({ name }: Environment, message: string, retained: ReleaseRecord[]): AppError {
  const numbers = retained.map(({ number }) => number).join(', ');
  const hint =
    numbers === ''
      ? `${name} has no other release to go back to; deploy the code that you want.`
      : `Releases that ${name} can go back to: ${numbers}.`;
  return new AppError('nothing_to_roll_back_to', message, { hint });
}

async function releaseViewIfThere(environment: Environment, number: number): Promise<Release | null> {
  return (await environment.store.get(number)) === undefined ? null : releaseView(environment, number);
}
