import type { Figures, Measurement, Scope, Side } from './measurement.ts';

/** Rounds of a measurement, and the reason why figures are missing. */
export interface Rounds {
  figures: Figures[];
  error: string | null;
}

/** Measures all sides in turns. A side that fails is left out from then on. */
export async function runRounds(measurement: Measurement, quick: boolean): Promise<Rounds> {
  const rounds = quick ? Math.max(1, measurement.quickRounds) : measurement.rounds;
  const figures: Figures[] = [];
  const errors: string[] = [];
  // Programs such as npm print pages of help.
  const failed = (error: unknown) => errors.push((error as Error).message.slice(0, 300));
  await inScope(async ({ after }) => {
    const sides = new Set(await measurement.prepare({ after, quick }));
    for (let round = 0; round < rounds; round += 1) {
      figures.push({});
      for (const side of inTurn([...sides], round)) {
        try {
          Object.assign(figures[round] as Figures, await side());
        } catch (error) {
          failed(error);
          sides.delete(side);
        }
      }
    }
  }).catch(failed);
  return { figures, error: errors.join('; ') || null };
}

function inTurn(sides: Side[], round: number): Side[] {
  const first = sides.length === 0 ? 0 : round % sides.length;
  return [...sides.slice(first), ...sides.slice(0, first)];
}

type Cleanups = (() => unknown)[];

/** Cleanups of all running scopes, the outermost first. */
const running: Cleanups[] = [];

/** Runs a function and then what it has registered to do after it, the newest first. */
export async function inScope<T>(work: (scope: Pick<Scope, 'after'>) => Promise<T>): Promise<T> {
  const cleanups: Cleanups = [];
  running.push(cleanups);
  try {
    return await work({ after: (cleanup) => void cleanups.push(cleanup) });
  } finally {
    await cleanUp(cleanups);
    running.splice(running.indexOf(cleanups), 1);
  }
}

/** Ends all that the running scopes have started, for an end of the benchmark by a signal. */
export async function endScopes(): Promise<void> {
  for (const cleanups of running.toReversed()) await cleanUp(cleanups);
}

async function cleanUp(cleanups: Cleanups): Promise<void> {
  for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) await cleanup();
}
