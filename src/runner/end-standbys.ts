import { firstOf } from '../system/concurrency/deadline.ts';
import type { Standby } from './standby.ts';

/** Environment that may have a generation on standby. */
export interface WithStandby {
  readonly standby: Standby | undefined;
  /** @param why clause for the log of the app */
  endStandby(why: string): Promise<void>;
}

/**
 * Ends generations on standby while memory is short, those with the least time left first. Waits until each has ended, except those
 * that still answer requests: that may take long.
 */
export async function endStandbys(
  environments: Iterable<WithStandby>,
  isShort: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const kept = [...environments].flatMap((environment) =>
    environment.standby === undefined ? [] : [{ environment, standby: environment.standby }],
  );
  kept.sort((one, other) => one.standby.until - other.standby.until);
  for (const { environment, standby } of kept) {
    if (signal.aborted || !isShort()) return;
    // A rollback may have taken it meanwhile.
    if (environment.standby !== standby) continue;
    const { isAtRest } = standby;
    const ended = environment.endStandby('memory is short');
    if (isAtRest) await firstOf<unknown>([ended], [signal]);
  }
}
