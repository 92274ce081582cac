import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../system/log/log.ts';
import type { Activity } from './activity.ts';

/** Time without work after which a server rests, in ms. */
export const restAfter = 120_000;

/** Number of checks for work in `restAfter`. */
const checks = 24;

interface RestOptions {
  activity: Activity;
  /** returns true while there is work without a connection, such as the watch over a release */
  isBusy(): boolean;
  /** makes sure that somebody starts the next server in time; rejects if nobody does */
  prepare(): Promise<unknown>;
  log: Log;
  /** ms */
  after?: number;
  /** waits, for a time in ms */
  pause?(milliseconds: number, signal: AbortSignal): Promise<unknown>;
  /** ends the wait; the result then rejects with an AbortError */
  signal: AbortSignal;
}

/**
 * Resolves when a server has had no work for a while and accepts no more connections.
 * @param stopAccepting called right after the last check for work. The event loop does not turn in between, so each connection has
 *   either been seen, or waits in its socket for the next server
 */
export async function untilAtRest(stopAccepting: () => void, options: RestOptions): Promise<void> {
  const { activity, isBusy, prepare, log, after = restAfter, pause = defaultPause, signal } = options;
  const isQuiet = () => {
    if (isBusy()) activity.touch();
    return activity.quietFor >= after;
  };
  let isRefused = false;
  for (;;) {
    await pause(after / checks, signal);
    if (!isQuiet()) continue;
    try {
      await prepare();
    } catch (error) {
      if (!isRefused) log.warn('server does not rest: the runner cannot start it again', { error });
      isRefused = true;
      activity.touch();
      continue;
    }
    isRefused = false;
    // Work may have come meanwhile.
    if (!isQuiet()) continue;
    stopAccepting();
    return;
  }
}

const defaultPause: NonNullable<RestOptions['pause']> = (milliseconds, signal) =>
  sleep(milliseconds, undefined, { signal, ref: false });
