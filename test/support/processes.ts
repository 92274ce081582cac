import { readdir, readFile, readlink } from 'node:fs/promises';
import { listPids, processStartTime } from '../../src/system/process/processes.ts';
import { waitFor } from './wait.ts';

/** Returns the pids of all running workers of a home, with or without a record. */
export function workersOfHome(home: string): Promise<number[]> {
  return find(
    async (pid) => /SLUICE_WORKER=[^\0]*/.exec(await environmentOf(pid))?.[0].includes(home) ?? false,
  );
}

/** Returns the pids of all processes that work in a home or were started for it, except this process. */
export function processesOfHome(home: string): Promise<number[]> {
  return find(async (pid) => {
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
    return cwd.startsWith(home) || (await environmentOf(pid)).includes(home);
  });
}

async function find(matches: (pid: number) => Promise<boolean>): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await listPids()) if (pid !== process.pid && (await matches(pid))) found.push(pid);
  return found;
}

/** Reads a file of a process; empty if the process is gone or belongs to another user. */
function environmentOf(pid: number): Promise<string> {
  return readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
}

/** Waits until processes have closed all their descriptors. Some kernels reset the connections that wait on a closed port. */
export async function untilClosed(pids: number[]): Promise<void> {
  for (const pid of pids) await waitFor(() => hasClosed(pid), { what: `the end of process ${pid}` });
}

/** Returns true once all threads of a process have ended: only the last one closes the descriptors. */
async function hasClosed(pid: number): Promise<boolean> {
  if ((await processStartTime(pid)) !== undefined) return false;
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  return threads.length <= 1;
}
