import { attendedTime } from '../system/attended.ts';
import type { TargetRunner } from './target.ts';

/** Interval between two looks at all processes, in ms. */
const interval = 250;

/**
 * Looks at every process from time to time, however late it is. What a process takes is a fact at any time. Its silence
 * counts only while we were there to listen: a runner that stood still, or a machine that was suspended, says nothing
 * about a worker.
 */
export class Ticker {
  readonly #targets: () => Iterable<TargetRunner>;
  readonly #sweep: () => void;
  #timer: NodeJS.Timeout | undefined;
  #lastLook = 0;

  /** @param sweep called as often, for what is to be cleared away */
  constructor(targets: () => Iterable<TargetRunner>, sweep: () => void) {
    this.#targets = targets;
    this.#sweep = sweep;
  }

  start(): void {
    this.#lastLook = performance.now();
    this.#timer = setTimeout(() => this.#lookNext(), interval);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #lookNext(): void {
    // What has been sent to us meanwhile is read first.
    setImmediate(() => {
      if (this.#timer === undefined) return;
      const now = performance.now();
      const attended = attendedTime(now - this.#lastLook);
      for (const target of this.#targets()) target.tick(now, attended);
      this.#sweep();
      this.#lastLook = now;
      this.#timer = setTimeout(() => this.#lookNext(), interval);
    });
  }
}
