import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { hasCode, systemCode } from '../../errors/app-error.ts';
import { ifThere } from '../fs/exists.ts';

/**
 * When a process started, in clock ticks since boot, as text: with the pid it names one process for good, where
 * the pid alone may have been given to another since. Undefined where there is no such process, one that has ended and
 * was not waited for included, or no /proc (source: proc(5), fields 3 and 22 of /proc/PID/stat).
 */
export async function processStartTime(pid: number): Promise<string | undefined> {
  try {
    return startTimeIn(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    return unlessGone(error);
  }
}

/** The same without a wait, for a process that has just been started: nothing is to happen before it is on record. */
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

/** Those of /proc/PID/stat from the third on: the name, field 2, may itself contain spaces and parentheses. */
export function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function startTimeIn(stat: string): string | undefined {
  const fields = fieldsOf(stat);
  return fields[0] === 'Z' ? undefined : fields[19];
}

/**
 * Sends a signal to a process, or with a negative pid to its group; false where there is none any more, or it has become
 * another user's, as what `sudo` starts, and is not ours to end.
 */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (hasCode(error, 'ESRCH', 'EPERM')) return false;
    throw error;
  }
}

/** Whether there is a process, or with a negative pid any of its group. */
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

/** The pid of the process that started it, or has taken it over; undefined where there is no such process. */
export async function parentOf(pid: number): Promise<number | undefined> {
  try {
    return Number(fieldsOf(await readFile(`/proc/${pid}/stat`, 'latin1'))[1]);
  } catch (error) {
    return unlessGone(error);
  }
}

/** What `ps` shows of it: its command line, or what it has put there; undefined where there is no such process. */
export async function titleOf(pid: number): Promise<string | undefined> {
  try {
    return await readFile(`/proc/${pid}/cmdline`, 'latin1');
  } catch (error) {
    return unlessGone(error);
  }
}

/** The pids of all processes; none where there is no /proc. */
export async function listPids(): Promise<number[]> {
  const names = (await ifThere(readdir('/proc'))) ?? [];
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}
