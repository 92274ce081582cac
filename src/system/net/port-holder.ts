import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { listPids } from '../process/processes.ts';
import { listeningSockets } from './listeners.ts';

/** Process with a socket that listens on a port. Several processes may share a socket. */
export interface PortHolder {
  pid: number;
  /** as `ps` shows it */
  command: string;
  /** variables of the process; empty if this user may not read them */
  environment: Record<string, string>;
}

/**
 * Finds the other processes that listen on a TCP port of this machine. Leaves out processes that this user may not inspect
 * (source: proc(5), /proc/PID/net/tcp and /proc/PID/fd).
 */
export async function findPortHolders(port: number): Promise<PortHolder[]> {
  const listening = (await listeningSockets()) ?? [];
  const sockets = new Set(
    listening.filter((socket) => socket.port === port).map(({ inode }) => `socket:[${inode}]`),
  );
  const holders: PortHolder[] = [];
  if (sockets.size === 0) return holders;
  for (const pid of await listPids()) {
    if (pid !== process.pid && (await holdsOne(pid, sockets))) holders.push(await describe(pid));
  }
  return holders;
}

async function holdsOne(pid: number, sockets: ReadonlySet<string>): Promise<boolean> {
  const directory = `/proc/${pid}/fd`;
  for (const fd of await orNothing(readdir(directory), [])) {
    if (sockets.has(await orNothing(readlink(join(directory, fd)), ''))) return true;
  }
  return false;
}

async function describe(pid: number): Promise<PortHolder> {
  const command = await orNothing(readFile(`/proc/${pid}/cmdline`, 'utf8'), '');
  const variables = await orNothing(readFile(`/proc/${pid}/environ`, 'utf8'), '');
  const pairs = variables.split('\0').map((pair) => pair.split(/=(.*)/s, 2));
  return { pid, command: command.replaceAll('\0', ' ').trim(), environment: Object.fromEntries(pairs) };
}

/** Returns `nothing` on errors: processes end, and processes of other users cannot be inspected. */
async function orNothing<T>(look: Promise<T>, nothing: T): Promise<T> {
  try {
    return await look;
  } catch {
    return nothing;
  }
}
