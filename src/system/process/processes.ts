import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { hasCode, systemCode } from '../../errors/app-error.ts';
import { ifThere } from '../fs/exists.ts';

/**
 * Returns the time at which a process started, in clock ticks since boot, as text. With this time, a pid always means the same
 * process. Returns undefined for a process that has ended, even if its parent has not waited for it, and without /proc (source:
 * proc(5), fields 3 and 22 of /proc/PID/stat).
 */
export async function processStartTime(pid: number): Promise<string | undefined> {
  try {
    return startTimeIn(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    return unlessGone(error);
  }
}

/** Works like `processStartTime`, but synchronously: a new process must be recorded before anything else happens. */
export function processStartTimeNow(pid: number): string | undefined {
  try {
    return startTimeIn(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    return unlessGone(error);
  }
}

function unlessGone(error: unknown): undefined {
  if (hasCode(error, 'ENOENT', 'ESRCH')) return undefined;
  throw error;
}

/** Returns the fields of /proc/PID/stat from the third on. Field 2, the name, may have spaces and parentheses. */
export function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function startTimeIn(stat: string): string | undefined {
  const fields = fieldsOf(stat);
  return fields[0] === 'Z' ? undefined : fields[19];
}

/**
 * Sends a signal to a process, or with a negative pid to a group. Returns false if the process does not exist, or belongs to
 * another user by now, such as a program that `sudo` has started.
 */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (hasCode(error, 'ESRCH', 'EPERM')) return false;
    throw error;
  }
}

/** Returns true if a process exists, or with a negative pid any process of a group. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (systemCode(error) === 'ESRCH') return false;
    if (systemCode(error) === 'EPERM') return true;
    throw error;
  }
}

/** Returns the session of a process; undefined if the process does not exist, or if there is no /proc. */
export function sessionOf(pid: number): number | undefined {
  try {
    return Number(fieldsOf(readFileSync(`/proc/${pid}/stat`, 'latin1'))[3]);
  } catch (error) {
    return unlessGone(error);
  }
}

/** Returns the parent of a process; undefined if the process does not exist. */
export async function parentOf(pid: number): Promise<number | undefined> {
  try {
    return Number(fieldsOf(await readFile(`/proc/${pid}/stat`, 'latin1'))[1]);
  } catch (error) {
    return unlessGone(error);
  }
}

/** Returns the command line of a process as `ps` shows it; undefined if the process does not exist. */
export async function titleOf(pid: number): Promise<string | undefined> {
  try {
    return await readFile(`/proc/${pid}/cmdline`, 'latin1');
  } catch (error) {
    return unlessGone(error);
  }
}

/** Lists the pids of all processes; none without /proc. */
export async function listPids(): Promise<number[]> {
  const names = (await ifThere(readdir('/proc'))) ?? [];
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}
