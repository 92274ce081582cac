import { readFile, stat } from 'node:fs/promises';
import { systemCode } from '../errors/app-error.ts';
import type { ServerReport } from './ask-server.ts';

/** The PATH of the process that starts programs: under a service manager it is another than that of a shell. */
export async function serverPath(server: ServerReport): Promise<string> {
  const path = server.state === 'up' ? await pathOf(server.status.server.pid) : undefined;
  return path ?? process.env['PATH'] ?? '';
}

async function pathOf(pid: number): Promise<string | undefined> {
  try {
    const variables = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0');
    return variables.find((variable) => variable.startsWith('PATH='))?.slice('PATH='.length);
  } catch {
    // No /proc, or not ours to read.
    return undefined;
  }
}

/** Returns the user of the home. Without a home, returns the current user. */
export async function ownerOf(home: string): Promise<{ uid: number; gid: number }> {
  try {
    return await stat(home);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  }
}
