import { attendedTime } from '../system/attended.ts';
import type { TargetRunner } from './target.ts';

/** Interval between two checks of all processes, in ms. */
const interval = 250;

/**
 * Checks all processes regularly, even if the check comes late. The memory of a process counts at any time. Its silence counts
 * only while this runner could receive messages, not while the runner stood still or the machine was suspended.
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
    // The event loop first reads the messages that have arrived meanwhile.
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
