import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { whenPossible } from '../../system/concurrency/when-possible.ts';
import { listPids, processStartTimeNow, sessionOf, signalProcess } from '../../system/process/processes.ts';
import { formatDuration } from '../../system/text/amounts.ts';
import type { ProcessRecord, ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { findMarked } from './job-remains.ts';

/** Interval between two checks whether the known processes are gone, in ms. */
const lookEvery = 20;
/** Limits the searches after the first SIGKILL: a process may start others faster than they are found. */
const looks = 20;
/** Number of processes that are checked between two turns of the event loop. */
const atATime = 50;

export interface Remains {
  /** pid of the ended process, the leader of its session; undefined if another process may have this pid by now */
  pid: number | undefined;
  /** mark of the ended process and its descendants: see job-remains.ts; undefined if there is none */
  mark: string | undefined;
  /** user of the ended process, if apps have users */
  user: Identity | undefined;
}

/**
 * Ends the processes that an ended process has left running, in its session and outside: SIGTERM at once, and SIGKILL after
 * `killTimeout` ms. Fulfilled when all are gone.
 * @returns the number of processes that were killed
 */
export async function endRemains(remains: Remains, killTimeout: number): Promise<number> {
  // Without /proc, only the process group is known.
  if (process.platform !== 'linux' && remains.pid !== undefined) signalProcess(-remains.pid, 'SIGTERM');
  const deadline = performance.now() + killTimeout;
  const told = new Set<number>();
  const killed = new Set<number>();
  for (let look = 0; look < looks; ) {
    const left = await find(remains);
    if (left.size === 0) break;
    const isLate = performance.now() >= deadline;
    if (isLate) look += 1;
    for (const pid of left.keys()) {
      if (isLate && signalProcess(pid, 'SIGKILL')) killed.add(pid);
      else if (!told.has(pid)) signalProcess(pid, 'SIGTERM');
      told.add(pid);
    }
    await untilGone(left, isLate ? performance.now() + 100 : deadline);
  }
  return killed.size;
}

/** Time for processes left by those of an earlier runner to end, in ms: the `killTimeout` of their app is not known. */
const patience = 5000;
/** Interval between two checks whether a process of an earlier runner is gone, in ms. */
const lookForEarlier = 250;

/**
 * Does the same for each worker and background process of an earlier runner, once it is gone, and removes the record of
 * each process of that runner. They are no children of this runner, so their ends are found by polling.
 * @param earlier all records at the start of this runner, of living and of ended processes
 * @param userOf returns the user of an app's processes
 */
export async function endRemainsOfEarlier(
  earlier: ProcessRecord[],
  records: ProcessRecords,
  userOf: (key: string) => Identity | undefined,
  log: (message: string) => void,
): Promise<void> {
  const end = async (record: ProcessRecord) => {
    const { kind, key, pid, startTime, mark } = record;
    const look = () => startTime !== undefined && processStartTimeNow(pid) === startTime;
    const isAlive = () => whenPossible(`a look at process ${pid}`, look, log);
    const wasAlive = await isAlive();
    while (await isAlive()) await sleep(lookForEarlier, undefined, { ref: false });
    await whenPossible(`the record of process ${pid}`, () => records.forget(record), log);
    if (kind !== 'worker' && kind !== 'background') return;
    const remains = () => ({ pid: wasAlive ? pid : undefined, mark, user: userOf(key) });
    const end = () => endRemains(remains(), patience);
    const killed = await whenPossible(`the end of what process ${pid} has left`, end, log);
    if (killed > 0)
      log(
        `a process of an earlier runner (${kind} of ${key}, pid ${pid}) ${describeRemains(killed, patience)}`,
      );
  };
  await Promise.all(earlier.map(end));
}

/** Returns a clause for the log about the number of killed processes. */
export function describeRemains(killed: number, killTimeout: number): string {
  const [processes, were] = killed === 1 ? ['1 process', 'was'] : [`${killed} processes`, 'were'];
  return `left ${processes} behind, which ${were} killed ${formatDuration(killTimeout)} after SIGTERM ("killTimeout")`;
}

/** Finds the processes that are left: pids, with start times to distinguish them from later processes with the same pid. */
async function find({ pid, mark, user }: Remains): Promise<Map<number, string>> {
  const found = new Set(mark === undefined ? [] : await findMarked(mark, user));
  for (const [index, each] of (pid === undefined ? [] : await listPids()).entries()) {
    if (index % atATime === 0) await nextTurn();
    if (sessionOf(each) === pid) found.add(each);
  }
  const alive = [...found].flatMap((each) => {
    const startTime = processStartTimeNow(each);
    return startTime === undefined ? [] : [[each, startTime] as const];
  });
  return new Map(alive);
}

async function untilGone(processes: Map<number, string>, deadline: number): Promise<void> {
  const isAlive = () => [...processes].some(([pid, startTime]) => processStartTimeNow(pid) === startTime);
  while (performance.now() < deadline && isAlive()) await sleep(lookEvery);
}
