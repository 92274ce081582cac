import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { hasCode } from '../../errors/app-error.ts';
import { ownEnvironment } from '../../system/process/own-program.ts';
import { listPids, signalProcess } from '../../system/process/processes.ts';
import { as, type Identity } from '../users/identity.ts';

/** Name of the variable that marks a process and all its descendants, with a value of its own for each process we start. */
export const jobMark = 'SLUICE_JOB';

/** What starts processes faster than they are found is given up on after so many looks. */
const looks = 10;

/**
 * Ends what a job has left running in a session of its own (`setsid`, a daemon), out of reach of a signal to its
 * group. Told by the variable in its environment; where there is no /proc, there is nothing to tell it by.
 * @param user whom it ran as, where there are users: others than they, root without CAP_SYS_PTRACE included, may not read
 *   the environment of a process, so they look themselves
 * @returns how many processes were left
 */
export async function endJobRemains(mark: string, user?: Identity): Promise<number> {
  const ended = new Set<number>();
  for (let look = 0; look < looks; look += 1) {
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
  const { stdout } = await promisify(execFile)('/bin/sh', argv, {
    ...as(user, ownEnvironment()),
    cwd: '/',
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
