import { attendedTime } from '../system/concurrency/deadline.ts';
import type { AppSupervisor } from './supervisor.ts';

/** Interval between two checks of all processes, in ms. */
const interval = 250;

/**
 * Checks all processes regularly, even if the check comes late. The memory of a process counts at any time. Its silence counts
 * only while this runner could receive messages, not while the runner stood still or the machine was suspended.
 */
export class Ticker {
  readonly #supervisors: () => Iterable<AppSupervisor>;
  readonly #failed: (error: unknown) => void;
  /** true if the last round of checks failed */
  #isFailing = false;
  #timer: NodeJS.Timeout | undefined;
  #lastRound = 0;

  /** @param failed called for the first of several failures in a row: a check may fail without a free descriptor */
  constructor(supervisors: () => Iterable<AppSupervisor>, failed: (error: unknown) => void) {
    this.#supervisors = supervisors;
    this.#failed = failed;
  }

  start(): void {
    this.#lastRound = performance.now();
    this.#timer = setTimeout(() => this.#checkAll(), interval);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #checkAll(): void {
    // The event loop first reads the messages that have arrived meanwhile.
    setImmediate(() => {
      if (this.#timer === undefined) return;
      const now = performance.now();
      const attended = attendedTime(now - this.#lastRound);
      const checks = [...this.#supervisors()].map((supervisor) => () => supervisor.tick(now, attended));
      const errors = checks.flatMap((check) => failureOf(check));
      if (errors.length > 0 && !this.#isFailing) this.#failed(errors[0]);
      this.#isFailing = errors.length > 0;
      this.#lastRound = now;
      this.#timer = setTimeout(() => this.#checkAll(), interval);
    });
  }
}

/** Runs a check, and catches its error so that the other checks run. @returns the error, if the check fails */
function failureOf(check: () => void): unknown[] {
  try {
    check();
    return [];
  } catch (error) {
    return [error];
  }
}
