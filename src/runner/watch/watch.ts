import type { Generation } from '../generation/generation.ts';
import { type Before, Buckets, judge, type Responses } from './judge.ts';

/** Interval and time of the samples of the responses of a live release, in ms: a count costs a little for each request. */
const samples = { every: 30_000, length: 1000 };
/** Silence of all workers on standby that shows that the machine is too busy for heartbeats, in ms. */
const busySilence = 2500;

/** End of a watch: the clause on why the release is worse than the one before, or the end of the time. */
export type WatchEnd = { fault: string } | { late: true };

/** Watch over a generation after a switch to it: compares the generation with the one before. */
export class Watch {
  readonly generation: Generation;
  readonly former: Generation;
  /** true from the judgment that the generation is worse: the environment returns to the one before */
  isReturning = false;
  readonly #before: Before;
  readonly #until: number;
  readonly #buckets: Buckets;
  #counted: Responses;
  readonly #ended = Promise.withResolvers<void>();

  /** @param now in ms, of the clock of `check` */
  constructor(generation: Generation, former: Generation, now: number) {
    this.generation = generation;
    this.former = former;
    this.#before = former.facts;
    this.#until = now + generation.spec.watchTime;
    this.#buckets = new Buckets(now);
    this.#counted = generation.facts.responses;
  }

  /** Fulfilled after `end`. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  end(): void {
    this.#ended.resolve();
  }

  /** Judges the generation. @returns undefined while the watch continues */
  check(now: number): WatchEnd | undefined {
    const { spec, facts, silence } = this.generation;
    const { responses, deaths, activeFor } = facts;
    const { total, errors } = this.#counted;
    this.#counted = responses;
    this.#buckets.add(now, { total: responses.total - total, errors: responses.errors - errors });
    const isBusy = (this.former.leastSilence ?? 0) > busySilence;
    const fault = judge(
      {
        ...{ activeFor, deaths, workers: spec.workers },
        silence: isBusy ? 0 : silence,
        recent: this.#buckets.recent,
      },
      this.#before,
      spec.watchLimits,
    );
    if (fault !== undefined) return { fault };
    return now >= this.#until ? { late: true } : undefined;
  }
}

/** Returns true if an active generation must count its responses now, as samples for the next watch. */
export function mustSample(now: number): boolean {
  return now % samples.every < samples.length;
}
