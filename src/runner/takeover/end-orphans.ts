import { setTimeout as sleep } from 'node:timers/promises';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { processStartTime, signalProcess } from '../../system/process/processes.ts';
import { formatDuration } from '../../system/text/format.ts';
import { receiverOf } from '../exit.ts';
import { type Orphans, reportsWithin } from './orphans.ts';
import { bootClock, type ProcessRecord, type ProcessRecords } from './process-records.ts';

/** Interval between two checks of a worker, in ms. */
const checkInterval = 200;
/** Time for a worker to end itself after its `drainTimeout` and `killTimeout`, in ms. */
const endsWithin = 2000;
/** Time for a worker to be gone after SIGKILL, in ms. */
const killedWithin = 5000;

interface OrphanOptions {
  key: string;
  records: ProcessRecords;
  orphans: Orphans;
  log(message: string): void;
}

/**
 * Waits until the workers of earlier runners have ended, and kills two kinds of them:
 *
 * - A worker that does not retire within 3 s: its event loop stands still, and it would take some of the connections for ever.
 *   A worker that has retired under an earlier runner need not report, because it takes no connections.
 * - A worker that has not ended itself `drainTimeout` and `killTimeout` after it retired.
 *
 * Call it after all these workers have got the message to retire.
 */
export async function endOrphans(options: OrphanOptions): Promise<void> {
  const find = () => options.records.ofEarlierRunners('worker', options.key);
  const workers = await retryOnShortage('the end of workers of an earlier runner', find, options.log);
  const since = bootClock();
  await Promise.all(workers.map((worker) => endOrphan(options, worker, since)));
}

async function endOrphan(
  { records, orphans, log }: OrphanOptions,
  worker: ProcessRecord,
  since: number,
): Promise<void> {
  const { pid, killTimeout = 0, stopSignal = 'SIGTERM' } = worker;
  let endedAt: number | undefined;
  const retiredAt = () => {
    const state = orphans.stateOf(pid);
    if (state === 'serving') return undefined;
    // If the disk refused the record, the report of the worker counts.
    return records.get(pid)?.retiredAt ?? (state === 'retired' ? since : undefined);
  };
  let killedAt: number | undefined;
  const isDone = async () => {
    if (processStartTime(pid) !== worker.startTime) {
      records.forget(worker);
      return true;
    }
    const now = bootClock();
    if (killedAt !== undefined) return now > killedAt + killedWithin;
    const record = records.get(pid);
    if (endedAt === undefined && record !== undefined && orphans.isDrained(record)) {
      // The processes of an exec worker do not end by themselves: its command would start them again.
      endedAt = now;
      // With the setting, they pass the message to themselves.
      if (!worker.shutdownWithMessage) signalProcess(receiverOf(pid, stopSignal, true), stopSignal);
    }
    const why =
      endedAt === undefined
        ? reasonToKill(worker, { now, since, retiredAt: retiredAt() })
        : lateEnd(now - endedAt, killTimeout, stopSignal);
    if (why === undefined) return false;
    log(`a worker of an earlier runner (pid ${pid}) ${why} and is killed`);
    signalProcess(-pid, 'SIGKILL');
    killedAt = now;
    return false;
  };
  // Without a free descriptor, the state of the worker is unknown, so the worker may live.
  const check = () => retryOnShortage(`the check of a worker of an earlier runner (pid ${pid})`, isDone, log);
  while (!(await check())) await sleep(checkInterval, undefined, { ref: false });
}

function lateEnd(passed: number, killTimeout: number, signal: string): string | undefined {
  if (passed < killTimeout) return undefined;
  return `had not ended ${formatDuration(killTimeout)} after ${signal} ("killTimeout")`;
}

/**
 * Returns a clause on why a worker must be killed; undefined if it may live.
 * @param times on one clock, in ms: now, when the worker got the message to retire, and when it retired, if it did
 */
export function reasonToKill(
  { drainTimeout = 0, killTimeout = 0 }: Pick<ProcessRecord, 'drainTimeout' | 'killTimeout'>,
  { now, since, retiredAt }: { now: number; since: number; retiredAt: number | undefined },
): string | undefined {
  if (retiredAt === undefined) return now - since < reportsWithin ? undefined : 'did not retire';
  if (now < retiredAt + drainTimeout + killTimeout + endsWithin) return undefined;
  const limit = formatDuration(drainTimeout + killTimeout);
  return `did not end within ${limit} after it retired ("drainTimeout" and "killTimeout")`;
}
