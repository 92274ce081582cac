import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { attendedTime } from '../system/concurrency/deadline.ts';

/** Interval between two checks of all processes, in ms. */
const interval = 250;

/**
 * Checks all processes regularly until `signal` aborts, even if a check comes late. The memory of a process counts at any time.
 * Its silence counts only while this runner could receive messages, not while the runner stood still or the machine was
 * suspended.
 * @param failed called for the first of several failures in a row: a check may fail without a free descriptor
 */
export async function tickRegularly(
  supervisors: () => Iterable<{ tick(now: number, attended: number): void }>,
  failed: (error: unknown) => void,
  signal: AbortSignal,
): Promise<void> {
  let last = performance.now();
  let wasFailing = false;
  for (;;) {
    await sleep(interval);
    // The event loop first reads the messages that have arrived meanwhile.
    await nextTurn();
    if (signal.aborted) return;
    const now = performance.now();
    let isFailing = false;
    for (const supervisor of supervisors()) {
      try {
        supervisor.tick(now, attendedTime(now - last));
      } catch (error) {
        if (!wasFailing && !isFailing) failed(error);
        isFailing = true;
      }
    }
    wasFailing = isFailing;
    last = now;
  }
}
