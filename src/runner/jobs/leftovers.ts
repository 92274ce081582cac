import { readFile, stat } from 'node:fs/promises';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../errors/app-error.ts';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { listPids, processStartTime, sessionOf, signalProcess } from '../../system/process/processes.ts';
import { ownEnvironment, run } from '../../system/process/run.ts';
import { formatDuration } from '../../system/text/format.ts';
import type { ProcessRecord, ProcessRecords } from '../takeover/process-records.ts';
import { type Identity, identityOptions } from '../users/identity.ts';

/** Name of the variable that marks a process and its descendants. Each process that the runner starts has its own value. */
export const jobMark = 'SLUICE_JOB';

/** Interval between two checks whether the known processes are gone, in ms. */
const checkEvery = 20;
/** Time until a process in `execve` is read again, in ms. */
const unclearDelay = 5;
/** Limits the searches, and those after the first SIGKILL: a process may start others faster than they are found. */
const mostSearches = 20;
/** Number of processes that are checked between two turns of the event loop. */
const atATime = 50;

interface EndedProcess {
  /** pid of the leader of its session; undefined if another process may have this pid by now */
  pid: number | undefined;
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
 */
export async function endLeftovers(ended: EndedProcess, killTimeout: number): Promise<number> {
  const { signal = 'SIGTERM' } = ended;
  // Without /proc, only the process group is known.
  if (process.platform !== 'linux' && ended.pid !== undefined) signalProcess(-ended.pid, signal);
  const deadline = performance.now() + killTimeout;
  const signalled = new Set<number>();
  const killed = new Set<number>();
  for (let searches = 0; searches < mostSearches; ) {
    const left = await find(ended);
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
  return killed.size;
}

/** Time for leftovers of an earlier runner's processes to end, in ms: the `killTimeout` of their app is not known. */
const earlierKillTimeout = 5000;
/** Interval between two checks whether a process of an earlier runner is gone, in ms. */
const checkEarlierEvery = 250;

/**
 * Ends the leftovers of each worker and background process of an earlier runner, once that process is gone, and removes the
 * record of each process of that runner. They are not children of this runner, so their ends are found by polling.
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
    await retryOnShortage(`the record of process ${pid}`, () => records.forget(record), log);
    if (kind !== 'worker' && kind !== 'background') return;
    const ended = () => ({ pid: wasAlive ? pid : undefined, mark, user: userOf(key) });
    const end = () => endLeftovers(ended(), earlierKillTimeout);
    const killed = await retryOnShortage(`the end of leftovers of process ${pid}`, end, log);
    const name = `a process of an earlier runner (${kind} of ${key}, pid ${pid})`;
    if (killed > 0) log(`${name} ${describeLeftovers(killed, earlierKillTimeout)}`);
  };
  await Promise.all(earlier.map(end));
}

/** Returns a clause for the log about the number of killed processes. */
export function describeLeftovers(killed: number, killTimeout: number): string {
  const [processes, were] = killed === 1 ? ['1 process', 'was'] : [`${killed} processes`, 'were'];
  return `left ${processes} running, which ${were} killed ${formatDuration(killTimeout)} after SIGTERM ("killTimeout")`;
}

/** Finds the pids of the leftovers. One may end while others are read, and may have started another one before. */
async function find({ pid, mark, user }: EndedProcess): Promise<number[]> {
  const found = new Set(mark === undefined ? [] : await findMarked(mark, user));
  for (const [index, each] of (pid === undefined ? [] : await listPids()).entries()) {
    if (index % atATime === 0) await nextTurn();
    if (sessionOf(each) === pid && isRunning(each)) found.add(each);
  }
  return [...found];
}

async function waitUntilGone(pids: number[], deadline: number): Promise<void> {
  while (performance.now() < deadline && pids.some(isRunning)) await sleep(checkEvery);
}

/** Returns false for a process that has ended, even if its parent has not waited for it. */
function isRunning(pid: number): boolean {
  return processStartTime(pid) !== undefined;
}

/** Marked processes, and processes that were in `execve` when they were read. */
interface Marked {
  marked: number[];
  unclear: number[];
}

/**
 * Finds processes that have a mark in their environment; none without /proc. Searches again while processes are new, because a
 * listed process may start another one and end before it is read, and while a process is in `execve`.
 * @param user their user, if apps have users. Other users, and root without CAP_SYS_PTRACE, may not read the environment of a
 *   process, so a process of that user searches
 */
async function findMarked(mark: string, user: Identity | undefined): Promise<number[]> {
  const clear = new Set<number>();
  for (let searches = 0; searches < mostSearches; searches += 1) {
    const pids = user === undefined ? await listPids() : await pidsOf(user);
    const fresh = pids.filter((pid) => !clear.has(pid));
    if (fresh.length === 0) break;
    const { marked, unclear } = await (user === undefined
      ? readMarks(fresh, mark)
      : readMarksAs(user, fresh, mark));
    if (marked.length > 0) return marked;
    for (const pid of fresh) clear.add(pid);
    for (const pid of unclear) clear.delete(pid);
    if (unclear.length > 0) await sleep(unclearDelay);
  }
  return [];
}

async function readMarks(pids: number[], mark: string): Promise<Marked> {
  const found: Marked = { marked: [], unclear: [] };
  for (const pid of pids) {
    const environment = await environmentOf(pid);
    if (environment?.includes(`${jobMark}=${mark}\0`)) found.marked.push(pid);
    if (environment === undefined) found.unclear.push(pid);
  }
  return found;
}

/**
 * Reads the environment of a process; empty if the process has none, is gone, is a zombie, or belongs to another user; undefined
 * if it is in `execve`: for a moment, a process then has neither an environment nor arguments.
 */
async function environmentOf(pid: number): Promise<string | undefined> {
  const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8');
  try {
    const environment = await read('environ');
    if (environment !== '') return environment;
    // Zombies and threads of the kernel have no program.
    await stat(`/proc/${pid}/exe`);
    if ((await read('cmdline')) === '') return undefined;
    return await read('environ');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return '';
    throw error;
  }
}

/**
 * Shell script with a mark and pids as arguments. Prints the pids of marked processes, and `?` and the pids of processes that are
 * or were in `execve`.
 */
const search = `mark=$1
shift
line='
'
show() { tr '\\0' '\\n' <"/proc/$pid/$1"; }
for pid; do
  environment=$(show environ)
  case "$line$environment$line" in *"$line$mark$line"*) echo "$pid" ;; esac
  [ -z "$environment" ] && [ -e "/proc/$pid/exe" ] || continue
  if [ -z "$(show cmdline)" ] || [ -n "$(show environ)" ]; then echo "?$pid"; fi
done`;

/** Reads the marks as a user. The user may forge the output, so only pids of that user's processes are returned. */
async function readMarksAs(user: Identity, pids: number[], mark: string): Promise<Marked> {
  const { stdout } = await run('/bin/sh', ['-c', search, 'sh', `${jobMark}=${mark}`, ...pids.map(String)], {
    ...identityOptions(user, ownEnvironment()),
    timeout: 5000,
    killSignal: 'SIGKILL',
    maxOutput: 1024 ** 2,
  });
  const found = new Set(stdout.split('\n'));
  return {
    marked: pids.filter((pid) => found.has(String(pid))),
    unclear: pids.filter((pid) => found.has(`?${pid}`)),
  };
}

/** Returns the pids of all processes of a user. */
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
