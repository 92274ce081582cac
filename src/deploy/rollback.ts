import type { Site } from '../apps/environment.ts';
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
  site: Site,
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
    using _traffic = await site.traffic.take(signal);
    const record = await choose(site, wanted);
    number = record.number;
    watch({ event: 'accepted', ...site.target, release: number });
    enter('boot');
    await using generation = await Generation.boot(site, record, {
      signal,
      onLine: (line) => watch({ event: 'log', line }),
    });
    enter('switch');
    await generation.switch();
    const release = await releaseView(site, number);
    watch({ event: 'live', release, tookMs: Math.round(performance.now() - startedAt) });
    return release;
  } catch (error) {
    const release = number === null ? null : await releaseViewIfThere(site, number);
    watch({ event: 'failed', release, error: { ...errorBody(error), step } });
    throw error;
  }
}

async function choose(site: Site, wanted: number | null): Promise<ReleaseRecord> {
  const active = await site.store.active();
  if (active === null) throw impossible(site, `${site.name} has had no release live`, []);
  const retained = await site.store.retained();
  if (wanted === null) {
    const previous = await site.store.previous();
    if (previous !== undefined) return previous;
    throw impossible(
      site,
      `there is no release before ${active.release} that was live and is still there`,
      retained,
    );
  }
  const record = await site.store.get(wanted);
  if (record === undefined) throw releaseNotFound(site, wanted);
  if (retained.some(({ number }) => number === wanted) || wanted === active.release) return record;
  const why = record.liveAt === null ? 'never was live' : 'is gone: its files were removed to save space';
  throw impossible(site, `release ${wanted} ${why}`, retained);
}

function impossible({ name }: Site, message: string, retained: ReleaseRecord[]): AppError {
  const numbers = retained.map(({ number }) => number).join(', ');
  const hint =
    numbers === ''
      ? `${name} has no other release to go back to; deploy the code that you want.`
      : `Releases that ${name} can go back to: ${numbers}.`;
  return new AppError('nothing_to_roll_back_to', message, { hint });
}

async function releaseViewIfThere(site: Site, number: number): Promise<Release | null> {
  return (await site.store.get(number)) === undefined ? null : releaseView(site, number);
}
