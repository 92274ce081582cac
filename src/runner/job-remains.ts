import { readFile } from 'node:fs/promises';
import { systemCode } from '../errors/app-error.ts';
import { listDirectory } from '../system/files.ts';
import { signalProcess } from '../system/processes.ts';

/** Set in a job's environment, and so in that of all that descends from it: to a value of its own. */
export const jobMark = 'SLUICE_JOB';

/** What starts processes faster than they are found is given up on after so many looks. */
const looks = 10;

/**
 * Ends what a job has left running in a session of its own (`setsid`, a daemon), out of reach of a signal to its
 * group. Told by the variable in its environment; where there is no /proc, there is nothing to tell it by.
 */
export async function endRemains(mark: string): Promise<void> {
  for (let look = 0; look < looks; look += 1) {
    const remains = await findMarked(mark);
    if (remains.length === 0) return;
    for (const pid of remains) signalProcess(pid, 'SIGKILL');
  }
}

async function findMarked(mark: string): Promise<number[]> {
  const marked: number[] = [];
  for (const name of await listDirectory('/proc')) {
    if (/^\d+$/.test(name) && (await environmentOf(name)).includes(`${jobMark}=${mark}\0`))
      marked.push(Number(name));
  }
  return marked;
}

/** Empty where the process is gone, is another user's, or only waits to be reaped. */
async function environmentOf(pid: string): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/environ`, 'utf8');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return '';
    throw error;
  }
}
