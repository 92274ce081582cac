import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { hasCode, systemCode } from '../../errors/app-error.ts';
import { ifThere } from '../fs/exists.ts';

/**
 * Returns the time at which a process started, in clock ticks since boot, as text. With this time, a pid always means the same
 * process. Returns undefined for a process that has ended, even if its parent has not waited for it, and without /proc (source:
 * proc(5), fields 3, 20 and 22 of /proc/PID/stat). Synchronous: a new process must be recorded before anything else happens.
 */
export function processStartTime(pid: number): string | undefined {
  const fields = statOf(pid);
  // The main thread may end first. The process has its ports and files until its last thread ends.
  const hasEnded = fields?.[0] === 'Z' && fields[17] === '1';
  return hasEnded ? undefined : fields?.[19];
}

/** Flag of a process that is exiting, in field 9 of /proc/PID/stat: PF_EXITING of the kernel (include/linux/sched.h). */
const exitingFlag = 0x4;

/** Returns true for a process that is ending, and may still have its files and ports. */
export function isExiting(pid: number): boolean {
  const fields = statOf(pid);
  return fields !== undefined && fields[0] !== 'Z' && (Number(fields[6]) & exitingFlag) !== 0;
}

/** Returns the session of a process; undefined if the process does not exist, or without /proc. */
export function sessionOf(pid: number): number | undefined {
  const session = statOf(pid)?.[3];
  return session === undefined ? undefined : Number(session);
}

/** Returns the real user of a process; undefined if the process does not exist, or without /proc. */
export function userIdOf(pid: number): number | undefined {
  const uid = /^Uid:\t(\d+)/m.exec(readProcessFile(pid, 'status') ?? '')?.[1];
  return uid === undefined ? undefined : Number(uid);
}

/** Returns the parent of a process; undefined if the process does not exist, or without /proc. */
export function parentOf(pid: number): number | undefined {
  const parent = statOf(pid)?.[1];
  return parent === undefined ? undefined : Number(parent);
}

/** Returns the command line of a process as `ps` shows it; undefined if the process does not exist, or without /proc. */
export function titleOf(pid: number): string | undefined {
  return readProcessFile(pid, 'cmdline');
}

/**
 * Returns true for a process in a container with pids of its own; false without /proc (source: proc_pid_status(5), NSpid: a pid
 * for each namespace).
 */
export function isInContainer(pid: number): boolean {
  const [, pids = ''] = /^NSpid:(.*)$/m.exec(readProcessFile(pid, 'status') ?? '') ?? [];
  return pids.trim().split(/\s+/).length > 1;
}

/** Returns the name of a program that runs, up to 15 characters; undefined if the process does not exist, or without /proc. */
export function processName(pid: number): string | undefined {
  return readProcessFile(pid, 'comm')?.trim();
}

/**
 * Returns a variable of the environment that a process was started with; undefined if it has none, if another user may not read
 * the environment, or without /proc.
 */
export function variableOf(pid: number, name: string): string | undefined {
  return environmentOf(pid).get(name);
}

/** Returns the environment that a process was started with; an empty one if another user may not read it, or without /proc. */
export function environmentOf(pid: number): Map<string, string> {
  const environment = new Map<string, string>();
  try {
    for (const variable of readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')) {
      const at = variable.indexOf('=');
      const name = variable.slice(0, at);
      // Of two variables with a name, getenv(3) returns the first.
      if (at > 0 && !environment.has(name)) environment.set(name, variable.slice(at + 1));
    }
  } catch {
    // The process has ended, or belongs to another user.
  }
  return environment;
}

/** Returns the fields of /proc/PID/stat from the third on; undefined if the process does not exist, or without /proc. */
export function statOf(pid: number): string[] | undefined {
  const stat = readProcessFile(pid, 'stat');
  // Field 2, the name, may have spaces and parentheses.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function readProcessFile(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

/** Lists the pids of all processes; none without /proc. */
export async function listPids(): Promise<number[]> {
  const names = (await ifThere(readdir('/proc'))) ?? [];
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
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
    return systemCode(error) === 'EPERM';
  }
}
