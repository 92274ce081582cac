import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ifThere } from './exists.ts';
import { listPids } from './processes.ts';

/** A process that has a socket that listens on a port: several may share one. */
export interface PortHolder {
  pid: number;
  /** as `ps` shows it */
  command: string;
  /** in its environment; empty where this user may not read that */
  environment: Record<string, string>;
}

/**
 * Finds who listens on a TCP port of this machine, but for this process. Processes of users that this one may not look at
 * are left out (source: proc(5), /proc/PID/net/tcp and /proc/PID/fd).
 */
export async function findPortHolders(port: number): Promise<PortHolder[]> {
  const sockets = await listeningSockets(port);
  const holders: PortHolder[] = [];
  if (sockets.size === 0) return holders;
  for (const pid of await listPids()) {
    if (pid !== process.pid && (await holdsOne(pid, sockets))) holders.push(await describe(pid));
  }
  return holders;
}

/** Fields of a line: number, local address, remote address, state, and as the tenth the inode. 0A: it listens. */
async function listeningSockets(port: number): Promise<Set<string>> {
  const sockets = new Set<string>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    const text = (await ifThere(readFile(file, 'latin1'))) ?? '';
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const [, local = '', , state] = fields;
      if (state === '0A' && Number.parseInt(local.split(':')[1] ?? '', 16) === port)
        sockets.add(`socket:[${fields[9]}]`);
    }
  }
  return sockets;
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

/** Processes end, and those of other users are not to be looked at. */
async function orNothing<T>(look: Promise<T>, nothing: T): Promise<T> {
  try {
    return await look;
  } catch {
    return nothing;
  }
}
