import { setTimeout as sleep } from 'node:timers/promises';

/** Time, as passed to code that waits or compares times, so that its tests need not wait. */
export interface Clock {
  /** Returns ms; only goes forward. */
  now(): number;
  /** Waits, without keeping the process alive. @throws an AbortError if `signal` aborts */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: (milliseconds, signal) => sleep(milliseconds, undefined, { signal, ref: false }),
};
