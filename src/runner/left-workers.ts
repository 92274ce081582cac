import { setTimeout as sleep } from 'node:timers/promises';
import { processStartTime, signalProcess } from '../system/processes.ts';
import { type Orphans, reportsWithin } from './orphans.ts';
import type { ProcessRecord, ProcessRecords } from './process-records.ts';

interface LeftWorkersOptions {
  key: string;
  records: ProcessRecords;
  orphans: Orphans;
  log(message: string): void;
}

/**
 * Sees to it that no worker of an earlier runner outlives those that took its place: one whose event loop stands still
 * hears of nothing, and takes a share of the connections for ever.
 * @param ours pids of our own workers
 * @param patience how long one that has retired may go on with what it has in flight, in ms
 */
export async function endLeftWorkers(
  { key, records, orphans, log }: LeftWorkersOptions,
  ours: Set<number>,
  patience: number,
): Promise<void> {
  const left = await records.left('worker', key, ours);
  if (left.length === 0) return;
  await sleep(reportsWithin, undefined, { ref: false });
  const retired = new Set(orphans.retired(key));
  const stuck = left.filter(({ pid }) => !retired.has(pid));
  await killAll(stuck, 'did not retire', log);
  await sleep(patience, undefined, { ref: false });
  await killAll(left, 'did not end', log);
  // Removes the records of workers that have ended.
  await records.alive();
}

async function killAll(records: ProcessRecord[], why: string, log: (message: string) => void): Promise<void> {
  for (const { pid, startTime } of records) {
    if (startTime === undefined || (await processStartTime(pid)) !== startTime) continue;
    log(`a worker of an earlier runner (pid ${pid}) ${why} and is ended`);
    signalProcess(-pid, 'SIGKILL');
  }
}
