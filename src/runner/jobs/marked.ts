import { readFile, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { hasCode } from '../../errors/app-error.ts';
import { backoffDelay } from '../../system/concurrency/retry.ts';
import { isExiting, listPids } from '../../system/process/processes.ts';
import { run } from '../../system/process/run.ts';
import { perl } from '../perl.ts';
import type { Identity } from '../users/identity.ts';

/** Name of the variable that marks a process and its descendants. Each process that the runner starts has its own value. */
export const jobMark = 'SLUICE_JOB';

const script = fileURLToPath(new URL('find-marked.pl', import.meta.url));

/** Limits the searches: a process may start others faster than they are found. */
const mostSearches = 20;
/** Delays until processes are read again that could not be read, in ms. */
const unclearDelays = { initial: 5, factor: 1.3, ceiling: 100 };
/** Longest wait for such processes, in ms. */
const unclearFor = 2000;
/** Time for one search in the name of a user, in ms. */
const searchTimeout = 5000;

/** Marked processes, and processes that could not be read at that moment: they were in `execve`, or were exiting. */
interface Found {
  marked: number[];
  unclear: number[];
}

/**
 * Finds processes that have a mark in their environment; none without /proc. Searches again while processes are new, because a
 * listed process may start another one and end before it is read, and while a process cannot be read.
 * @param isOther returns true for a process to leave out, because it cannot have the mark
 * @param user their user, if apps have users. Other users, and root without CAP_SYS_PTRACE, may not read the environment of a
 *   process, so a program that takes this user searches
 */
export async function findMarked(
  mark: string,
  user: Identity | undefined,
  isOther: (pid: number) => boolean = () => false,
): Promise<number[]> {
  const clear = new Set<number>();
  const deadline = performance.now() + unclearFor;
  for (let searches = 0, waits = 0; searches < mostSearches; ) {
    const pids = (await listPids()).filter((pid) => !clear.has(pid) && !isOther(pid));
    const fresh = user === undefined ? pids : await pidsOf(user, pids);
    if (fresh.length === 0) break;
    const { marked, unclear } = await (user === undefined
      ? readMarks(fresh, mark)
      : readMarksAs(user, fresh, mark));
    if (marked.length > 0) return marked;
    for (const pid of fresh) clear.add(pid);
    if (unclear.length === 0 || performance.now() >= deadline) {
      searches += 1;
      continue;
    }
    for (const pid of unclear) clear.delete(pid);
    waits += 1;
    await sleep(backoffDelay(waits, unclearDelays));
  }
  return [];
}

async function readMarks(pids: number[], mark: string): Promise<Found> {
  const found: Found = { marked: [], unclear: [] };
  for (const pid of pids) {
    const environment = await environmentOf(pid);
    if (environment?.includes(`${jobMark}=${mark}\0`)) found.marked.push(pid);
    if (environment === undefined) found.unclear.push(pid);
  }
  return found;
}

/**
 * Reads the environment of a process; empty if the process has none, is gone, is a zombie, or belongs to another user. Undefined
 * for a process in `execve`, which for a moment has neither an environment nor arguments, and for an exiting process, which has
 * released its memory and may still have its files.
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
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return isExiting(pid) ? undefined : '';
    throw error;
  }
}

/** Reads the marks in the name of a user. */
async function readMarksAs({ uid, gid }: Identity, pids: number[], mark: string): Promise<Found> {
  const args = [script, String(uid), String(gid), `${jobMark}=${mark}`, ...pids.map(String)];
  const { stdout } = await run(perl, args, { timeout: searchTimeout, killSignal: 'SIGKILL' });
  const lines = stdout.split('\n').filter(Boolean);
  const [unclear = [], marked = []] = [true, false].map((is) =>
    lines.filter((line) => line.startsWith('?') === is),
  );
  return { marked: marked.map(Number), unclear: unclear.map((line) => Number(line.slice(1))) };
}

/** Returns the pids of a user's processes. @param pids pids to choose from; all by default */
export async function pidsOf({ uid }: Identity, pids?: number[]): Promise<number[]> {
  const own: number[] = [];
  for (const pid of pids ?? (await listPids())) {
    try {
      if ((await stat(`/proc/${pid}`)).uid === uid) own.push(pid);
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ESRCH')) throw error;
    }
  }
  return own;
}
