import { setTimeout as sleep } from 'node:timers/promises';
import { isShortage } from '../../errors/app-error.ts';
import { describeError } from '../log/log.ts';

interface BackoffOptions {
  /** delay before the second attempt, in ms; the first attempt is made at once */
  initial: number;
  factor: number;
  /** longest delay, in ms */
  ceiling: number;
}

/** Returns the delay before the next attempt after a number of failures, in ms. */
export function backoffDelay(failures: number, { initial, factor, ceiling }: BackoffOptions): number {
  if (failures <= 0) return 0;
  return Math.min(ceiling, initial * factor ** (failures - 1));
}

/** Pause before an attempt after a shortage, in ms. */
const retryDelay = 500;

/**
 * Repeats `work` while descriptors, processes, memory or a disk are short: for work that nothing else would do later.
 * @param what name of the work, for the log
 * @param log called once, with a message that has `what` and the first error
 * @throws any other error of `work`, and the last one after `stopped` returns true
 */
export async function retryOnShortage<T>(
  what: string,
  work: () => T | Promise<T>,
  log: (message: string) => void,
  stopped: () => boolean = () => false,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!isShortage(error) || stopped()) throw error;
      if (attempt === 1) log(`${what} is tried again until it succeeds: ${describeError(error)}`);
    }
    await sleep(retryDelay, undefined, { ref: false });
  }
}
