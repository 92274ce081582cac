import { readdir, readFile, readlink } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { ifThere } from '../fs/exists.ts';
import { listPids } from '../process/processes.ts';

/** TCP socket that listens. */
export interface Listener {
  /** such as `127.0.0.1`, `0.0.0.0`, `::1`, `::` */
  host: string;
  port: number;
  /** user who made the socket */
  uid: number;
  /** processes that have the socket, as far as we may inspect them */
  pids: number[];
}

type ListeningSocket = Omit<Listener, 'pids'> & { inode: string };

/** Process with a socket that listens on a port. */
export interface PortHolder {
  pid: number;
  /** as `ps` shows it */
  command: string;
  /** variables of the process; empty if this user may not read them */
  environment: Record<string, string>;
}

/** Limit of the descriptors that are read of given processes: an app must not keep its runner busy. */
const mostDescriptors = 10_000;

/**
 * Lists the sockets that listen, on one port or on all, on this machine or in this container; undefined without /proc.
 * @param among pids of the only processes to look at
 * @throws the reason of `signal`
 */
export async function listListeners(
  port?: number,
  among?: number[],
  signal?: AbortSignal,
): Promise<Listener[] | undefined> {
  const all = await listeningSockets();
  const sockets = all?.filter((socket) => port === undefined || socket.port === port);
  const pidsOf = await findProcesses(sockets?.map(({ inode }) => inode) ?? [], among, signal);
  return sockets?.map(({ inode, ...listener }) => ({ ...listener, pids: [...(pidsOf.get(inode) ?? [])] }));
}

/** Finds the other processes that listen on a TCP port. Leaves out processes that this user may not inspect. */
export async function findPortHolders(port: number): Promise<PortHolder[]> {
  const pids = new Set((await listListeners(port))?.flatMap((listener) => listener.pids));
  pids.delete(process.pid);
  return Promise.all([...pids].map(describe));
}

/**
 * Returns true if a socket listens where connections to a port of an address arrive. A bind with SO_REUSEPORT does not notice
 * such a socket of the same user. Returns undefined without /proc.
 */
export async function isListenedOn(host: string, port: number): Promise<boolean | undefined> {
  const sockets = await listeningSockets();
  const overlaps = (other: string) =>
    other === host ||
    other === '::' ||
    host === '::' ||
    ((other === '0.0.0.0' || host === '0.0.0.0') && isIPv4(other) && isIPv4(host));
  return sockets?.some((socket) => socket.port === port && overlaps(socket.host));
}

async function listeningSockets(): Promise<ListeningSocket[] | undefined> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => ifThere(readFile(path, 'latin1'))),
  );
  if (tables.every((table) => table === undefined)) return undefined;
  return tables.flatMap((table) => (table ?? '').split('\n').slice(1).flatMap(parseSocket));
}

/** Source: proc(5), /proc/net/tcp; 0A is TCP_LISTEN. */
function parseSocket(line: string): ListeningSocket[] {
  const [, local = '', , state, , , , uid, , inode] = line.trim().split(/\s+/);
  const [address = '', port = ''] = local.split(':');
  if (state !== '0A' || inode === undefined) return [];
  return [{ host: parseAddress(address), port: Number.parseInt(port, 16), uid: Number(uid), inode }];
}

/** Parses words of 32 bits, whose bytes are in the order of the processor: little-endian on all supported systems. */
function parseAddress(hex: string): string {
  const bytes = Buffer.from(hex, 'hex').swap32();
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  // A URL leaves out the longest run of zeros. IPv4 in IPv6 is shown as such.
  return new URL(`http://[${groups.join(':')}]`).hostname
    .slice(1, -1)
    .replace(/^::ffff:\w+:\w+$/, bytes.subarray(12).join('.'));
}

/** Finds the processes of sockets. Only root can inspect processes of other users. */
async function findProcesses(
  inodes: string[],
  among?: number[],
  signal?: AbortSignal,
): Promise<Map<string, Set<number>>> {
  const processes = new Map(inodes.map((inode) => [inode, new Set<number>()]));
  if (inodes.length === 0) return processes;
  let left = among === undefined ? Number.POSITIVE_INFINITY : mostDescriptors;
  for (const pid of among ?? (await listPids())) {
    const names = (await readdir(`/proc/${pid}/fd`).catch(() => [])).slice(0, left);
    left -= names.length;
    for (const name of names) {
      signal?.throwIfAborted();
      const link = await readlink(`/proc/${pid}/fd/${name}`).catch(() => '');
      processes.get(/^socket:\[(\d+)\]$/.exec(link)?.[1] ?? '')?.add(pid);
    }
  }
  return processes;
}

/** Describes a process; a part that cannot be read is empty: processes end, and those of other users cannot be inspected. */
async function describe(pid: number): Promise<PortHolder> {
  const read = (name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
  const pairs = (await read('environ')).split('\0').map((pair) => pair.split(/=(.*)/s, 2));
  const command = (await read('cmdline')).replaceAll('\0', ' ').trim();
  return { pid, command, environment: Object.fromEntries(pairs) };
}
