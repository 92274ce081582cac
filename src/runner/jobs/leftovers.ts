import { readFile, stat } from 'node:fs/promises';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../errors/app-error.ts';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { listPids, processStartTimeNow, sessionOf, signalProcess } from '../../system/process/processes.ts';
import { ownEnvironment, run } from '../../system/process/run.ts';
import { formatDuration } from '../../system/text/format.ts';
import type { ProcessRecord, ProcessRecords } from '../takeover/process-records.ts';
import { asUser, type Identity } from '../users/identity.ts';

/** Interval between two checks whether the known processes are gone, in ms. */
const lookEvery = 20;
/** Limits the searches after the first SIGKILL: a process may start others faster than they are found. */
const looks = 20;
/** Number of processes that are checked between two turns of the event loop. */
const atATime = 50;

export interface Ended {
  /** pid of the ended process, the leader of its session; undefined if another process may have this pid by now */
  pid: number | undefined;
  /** mark of the ended process and its descendants: see src/runner/jobs/leftovers.ts; undefined if there is none */
  mark: string | undefined;
  /** user of the ended process, if apps have users */
  user: Identity | undefined;
}

/**
 * Ends the processes that an ended process has left running, in its session and outside: SIGTERM at once, and SIGKILL after
 * `killTimeout` ms. Fulfilled when all are gone.
 * @returns the number of processes that were killed
 */
export async function endLeftovers(remains: Ended, killTimeout: number): Promise<number> {
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
export async function endLeftoversOfEarlier(
  earlier: ProcessRecord[],
  records: ProcessRecords,
  userOf: (key: string) => Identity | undefined,
  log: (message: string) => void,
): Promise<void> {
  const end = async (record: ProcessRecord) => {
    const { kind, key, pid, startTime, mark } = record;
    const look = () => startTime !== undefined && processStartTimeNow(pid) === startTime;
    const isAlive = () => retryOnShortage(`a look at process ${pid}`, look, log);
    const wasAlive = await isAlive();
    while (await isAlive()) await sleep(lookForEarlier, undefined, { ref: false });
    await retryOnShortage(`the record of process ${pid}`, () => records.forget(record), log);
    if (kind !== 'worker' && kind !== 'background') return;
    const remains = () => ({ pid: wasAlive ? pid : undefined, mark, user: userOf(key) });
    const end = () => endLeftovers(remains(), patience);
    const killed = await retryOnShortage(`the end of what process ${pid} has left`, end, log);
    if (killed > 0)
      log(
        `a process of an earlier runner (${kind} of ${key}, pid ${pid}) ${describeLeftovers(killed, patience)}`,
      );
  };
  await Promise.all(earlier.map(end));
}

/** Returns a clause for the log about the number of killed processes. */
export function describeLeftovers(killed: number, killTimeout: number): string {
  const [processes, were] = killed === 1 ? ['1 process', 'was'] : [`${killed} processes`, 'were'];
  return `left ${processes} behind, which ${were} killed ${formatDuration(killTimeout)} after SIGTERM ("killTimeout")`;
}

/** Finds the processes that are left: pids, with start times to distinguish them from later processes with the same pid. */
async function find({ pid, mark, user }: Ended): Promise<Map<number, string>> {
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

/** Name of the variable that marks a process and all its descendants, with a value of its own for each process we start. */
export const jobMark = 'SLUICE_JOB';

/** What starts processes faster than they are found is given up on after so many looks. */
const jobLooks = 10;

/**
 * Ends what a job has left running in a session of its own (`setsid`, a daemon), out of reach of a signal to its
 * group. Told by the variable in its environment; where there is no /proc, there is nothing to tell it by.
 * @param user whom it ran as, where there are users: others than they, root without CAP_SYS_PTRACE included, may not read
 *   the environment of a process, so they look themselves
 * @returns how many processes were left
 */
export async function killMarked(mark: string, user?: Identity): Promise<number> {
  const ended = new Set<number>();
  for (let look = 0; look < jobLooks; look += 1) {
    const remains = await findMarked(mark, user);
    if (remains.length === 0) break;
    for (const pid of remains) if (signalProcess(pid, 'SIGKILL')) ended.add(pid);
  }
  return ended.size;
}

/** Finds the processes that have the mark in their environment. @param user as for `endJobRemains` */
export async function findMarked(mark: string, user: Identity | undefined): Promise<number[]> {
  if (user !== undefined) return findAs(user, mark);
  const marked: number[] = [];
  for (const pid of await listPids()) {
    if ((await environmentOf(pid)).includes(`${jobMark}=${mark}\0`)) marked.push(pid);
  }
  return marked;
}

/** Empty where the process is gone, is another user's, or only waits to be reaped. */
async function environmentOf(pid: number): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/environ`, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return '';
    throw error;
  }
}

/** Prints those of its arguments, after the first, that are pids of processes with the first in their environment. */
const search =
  'mark=$1; shift; for pid; do grep -qzFx -e "$mark" "/proc/$pid/environ" && echo "$pid"; done; :';

/** What the user says is the user's: a pid is taken only where it was one of those that were asked about. */
async function findAs(user: Identity, mark: string): Promise<number[]> {
  const theirs = await pidsOf(user);
  if (theirs.length === 0) return [];
  const argv = ['-c', search, 'sh', `${jobMark}=${mark}`, ...theirs.map(String)];
  const { stdout } = await run('/bin/sh', argv, {
    ...asUser(user, ownEnvironment()),
    timeout: 5000,
    killSignal: 'SIGKILL',
  });
  const found = new Set(stdout.split('\n'));
  return theirs.filter((pid) => found.has(String(pid)));
}

/** Of all processes that run as a user. */
export async function pidsOf({ uid }: Identity): Promise<number[]> {
  const pids: number[] = [];
  for (const pid of await listPids()) {
    try {
      if ((await stat(`/proc/${pid}`)).uid === uid) pids.push(pid);
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ESRCH')) throw error;
    }
  }
  return pids;
}
