import type { WatchLimits } from '../../config/app-settings.ts';
import { formatDuration } from '../../system/text/format.ts';
import { binomialTail, hypergeometricTail, poissonTail } from './statistics.ts';

/** Responses of a generation: all, and those with status 500 to 599. */
export interface Responses {
  total: number;
  errors: number;
}

/** Facts about the generation before, while it had the traffic. */
export interface Before {
  /** ms */
  activeFor: number;
  deaths: number;
  /** longest delay of an event loop, in ms */
  worstDelay: number;
  /** responses of the samples that were taken */
  responses: Responses;
}

/** Facts about a generation since the switch to it. */
export interface Watched {
  /** ms */
  activeFor: number;
  workers: number;
  /** deaths of workers that had listened; not those after an exit status of `stopExitCodes` */
  deaths: number;
  /** longest time that an event loop stands still now, in ms */
  silence: number;
  /** last buckets of responses, the newest last: see Buckets */
  recent: readonly Responses[];
}

/** Number of buckets that must all have many errors: a burst of errors that is shorter than all of them is no reason. */
export const bucketCount = 6;
/** Probability of an accident above which a difference proves nothing. */
const accident = 1e-4;
/** Share of errors of a generation with too few samples. */
const unknownShare = 0.1;

/**
 * Returns a clause on why a generation is worse than the one before; undefined if it is not. Pure: all facts are given.
 */
export function judge(watched: Watched, before: Before, limits: WatchLimits): string | undefined {
  return (
    judgeDeaths(watched, before, limits) ??
    judgeSilence(watched, before, limits) ??
    judgeErrors(watched, before, limits)
  );
}

function judgeDeaths(
  { deaths, workers, activeFor }: Watched,
  before: Before,
  { deaths: limit }: WatchLimits,
): string | undefined {
  // The death of an only worker is an outage.
  if (limit === 0 || deaths < Math.min(limit, workers)) return undefined;
  const clause = `${deaths === 1 ? 'a worker has' : `${deaths} workers have`} died within ${formatDuration(activeFor)} of the switch`;
  if (before.deaths === 0) return clause;
  const expected = ((before.deaths + 1) * activeFor) / Math.max(before.activeFor, 1);
  return poissonTail(deaths, expected) < accident ? clause : undefined;
}

function judgeSilence(
  { silence }: Watched,
  { worstDelay }: Before,
  { blocked }: WatchLimits,
): string | undefined {
  if (blocked === 0 || silence <= Math.max(blocked, 2 * worstDelay)) return undefined;
  return `the event loop of a worker has stood still for ${formatDuration(silence)}`;
}

function judgeErrors(
  { recent }: Watched,
  { responses }: Before,
  { responses: fewest, points, times }: WatchLimits,
): string | undefined {
  if (fewest === 0 || recent.length < bucketCount) return undefined;
  const now = sumOf(recent);
  const isKnown = responses.total >= fewest;
  const share = isKnown ? shareOf(responses) : unknownShare;
  const limit = Math.max(share + points / 100, share * times);
  const isBrief = recent.some((bucket) => shareOf(bucket) <= limit / 3);
  if (now.total < fewest || shareOf(now) <= limit || isBrief) return undefined;
  const likelihood = isKnown
    ? hypergeometricTail(now.errors, {
        drawn: now.total,
        marked: now.errors + responses.errors,
        all: now.total + responses.total,
      })
    : binomialTail(now.errors, now.total, unknownShare);
  if (likelihood >= accident) return undefined;
  const than = isKnown ? `, and of the release before ${percentOf(share)}` : '';
  return `${percentOf(shareOf(now))} of the last ${now.total} responses have a status from 500 to 599${than}`;
}

function sumOf(all: readonly Responses[]): Responses {
  const sum = { total: 0, errors: 0 };
  for (const { total, errors } of all) {
    sum.total += total;
    sum.errors += errors;
  }
  return sum;
}

function shareOf({ total, errors }: Responses): number {
  return total === 0 ? 0 : errors / total;
}

function percentOf(share: number): string {
  return `${Math.round(share * 1000) / 10} %`;
}

/** Shortest time and fewest responses of a bucket. */
const bucketTime = 500;
const bucketResponses = 6;

/** Collects responses in buckets of half a second, or longer if there are few responses. Keeps the last ones. */
export class Buckets {
  readonly #full: Responses[] = [];
  #open: Responses = { total: 0, errors: 0 };
  #since: number;

  /** @param now in ms, of the clock of `add` */
  constructor(now: number) {
    this.#since = now;
  }

  /** Last full buckets, the newest last. */
  get recent(): readonly Responses[] {
    return this.#full;
  }

  add(now: number, { total, errors }: Responses): void {
    this.#open.total += total;
    this.#open.errors += errors;
    if (now - this.#since < bucketTime || this.#open.total < bucketResponses) return;
    this.#full.push(this.#open);
    if (this.#full.length > bucketCount) this.#full.shift();
    this.#open = { total: 0, errors: 0 };
    this.#since = now;
  }
}
