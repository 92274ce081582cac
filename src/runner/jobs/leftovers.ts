import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { describeError } from '../../system/log/log.ts';
import {
  listPids,
  processStartTime,
  sessionOf,
  signalProcess,
  userIdOf,
} from '../../system/process/processes.ts';
import { isChild } from '../../system/process/run.ts';
import { formatDuration } from '../../system/text/format.ts';
import type { ProcessRecord, ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { findMarked } from './marked.ts';

/** Interval between two checks whether the known processes are gone, in ms. */
const checkEvery = 20;
/** Limits the searches after the first SIGKILL: a process may start others faster than they are found. */
const mostSearches = 20;
/** Number of processes that are checked between two turns of the event loop. */
const atATime = 50;

interface EndedProcess {
  /** pid of the leader of its session; undefined if another process may have this pid by now */
  pid: number | undefined;
  /** another session, as a process of `user` has named it: only processes of that user are ended there */
  terminal?: number | undefined;
  /** see `jobMark`; undefined if there is none */
  mark: string | undefined;
  /** user of the ended process, if apps have users */
  user: Identity | undefined;
  /** signal that asks them to end; SIGTERM if left out */
  signal?: NodeJS.Signals | undefined;
}

/**
 * Ends the leftover processes of an ended process, in its session and outside (`setsid`, a daemon): `signal` at once, and SIGKILL
 * after `killTimeout` ms. Fulfilled when all are gone.
 * @returns the number of processes that were killed
 * @throws the error of a search outside of the session, when all processes in the session are gone
 */
export async function endLeftovers(ended: EndedProcess, killTimeout: number): Promise<number> {
  const { mark, user, signal = 'SIGTERM' } = ended;
  // Without /proc, only the process group is known.
  if (process.platform !== 'linux' && ended.pid !== undefined) signalProcess(-ended.pid, signal);
  const deadline = performance.now() + killTimeout;
  const signalled = new Set<number>();
  const killed = new Set<number>();
  const failures: unknown[] = [];
  // Other children of the runner are no leftovers: each has a mark of its own, or none. A child that got the pid of the ended process
  // since then is another one.
  const hasEnded = ended.pid === undefined || !isChild(ended.pid);
  const isOther = (pid: number) => isChild(pid) && (hasEnded || pid !== ended.pid);
  const findOutside = async () => {
    if (mark === undefined || failures.length > 0) return [];
    try {
      return await findMarked(mark, user, isOther);
    } catch (error) {
      failures.push(error);
      return [];
    }
  };
  for (let searches = 0; searches < mostSearches; ) {
    const left = [...new Set([...(await findOutside()), ...(await findInSessions(ended, isOther))])];
    if (left.length === 0) break;
    const isLate = performance.now() >= deadline;
    if (isLate) searches += 1;
    for (const pid of left) {
      // A signal to a process that has ended succeeds until its parent has waited for it.
      if (isLate && isRunning(pid) && signalProcess(pid, 'SIGKILL')) killed.add(pid);
      else if (!signalled.has(pid)) signalProcess(pid, signal);
      signalled.add(pid);
    }
    await waitUntilGone(left, isLate ? performance.now() + 100 : deadline);
  }
  if (failures.length > 0) throw failures[0];
  return killed.size;
}

/** Time for leftovers of an earlier runner's processes to end, in ms: the `killTimeout` of their app is not known. */
const earlierKillTimeout = 5000;
/** Interval between two checks whether a process of an earlier runner is gone, in ms. */
const checkEarlierEvery = 250;

/**
 * Ends the leftovers of each process of an earlier runner, once that process is gone, and removes its record. The processes are
 * not children of this runner, so their ends are found by polling.
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
    const check = () => startTime !== undefined && processStartTime(pid) === startTime;
    const isAlive = () => retryOnShortage(`a check of process ${pid}`, check, log);
    const wasAlive = await isAlive();
    while (await isAlive()) await sleep(checkEarlierEvery, undefined, { ref: false });
    const ended = () => ({ pid: wasAlive ? pid : undefined, mark, user: userOf(key) });
    const end = () => endLeftovers(ended(), earlierKillTimeout);
    const name = `a process of an earlier runner (${kind} of ${key}, pid ${pid})`;
    try {
      if (kind === 'keeper' || kind === 'holder') return;
      const killed = await retryOnShortage(`the end of leftovers of process ${pid}`, end, log);
      if (killed > 0) log(`${name} ${describeLeftovers(killed, earlierKillTimeout)}`);
    } catch (error) {
      log(`${name} ${describeFailedSearch(error)}`);
    } finally {
      // Not before: if this runner is killed meanwhile, the next one continues.
      await retryOnShortage(`the record of process ${pid}`, () => records.forget(record), log);
    }
  };
  await Promise.all(earlier.map(end));
}

/** Returns a clause for the log about the number of killed processes. */
export function describeLeftovers(killed: number, killTimeout: number): string {
  const [processes, were] = killed === 1 ? ['1 process', 'was'] : [`${killed} processes`, 'were'];
  return `left ${processes} running, which ${were} killed ${formatDuration(killTimeout)} after SIGTERM ("killTimeout")`;
}

/** Returns a clause for the log about an error of `endLeftovers`. */
export function describeFailedSearch(error: unknown): string {
  return `may have left processes behind: ${describeError(error)}`;
}

/** Finds running processes by their session. */
async function findInSessions(
  { pid, terminal, user }: EndedProcess,
  isOther: (pid: number) => boolean,
): Promise<number[]> {
  const found: number[] = [];
  if (pid === undefined && terminal === undefined) return found;
  const pids = (await listPids()).filter((each) => !isOther(each));
  for (const [index, each] of pids.entries()) {
    if (index % atATime === 0) await nextTurn();
    const session = sessionOf(each);
    if (session === undefined || (session !== pid && session !== terminal) || !isRunning(each)) continue;
    if (session === pid || user === undefined || userIdOf(each) === user.uid) found.push(each);
  }
  return found;
}

async function waitUntilGone(pids: number[], deadline: number): Promise<void> {
  while (performance.now() < deadline && pids.some(isRunning)) await sleep(checkEvery);
}

/** Returns false for a process that has ended, even if its parent has not waited for it. */
function isRunning(pid: number): boolean {
  return processStartTime(pid) !== undefined;
}
