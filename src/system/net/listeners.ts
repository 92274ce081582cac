import { readdir, readFile, readlink } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { ifThere } from '../fs/exists.ts';
import { listPids } from '../process/processes.ts';

/** A TCP socket that listens. */
export interface Listener {
  /** such as `127.0.0.1`, `0.0.0.0`, `::1`, `::` */
  host: string;
  port: number;
  /** of the user who made it */
  uid: number;
  /** who has it open, as far as we may see */
  pids: number[];
}

/** A socket that listens; `inode` names the socket. */
type ListeningSocket = Omit<Listener, 'pids'> & { inode: string };

/** What listens on this machine, or in this container; undefined where there is no /proc that says so. */
export async function listListeners(): Promise<Listener[] | undefined> {
  const sockets = await listeningSockets();
  if (sockets === undefined) return undefined;
  const holders = await holdersOf(new Set(sockets.map(({ inode }) => inode)));
  return sockets.map(({ inode, ...listener }) => ({ ...listener, pids: holders.get(inode) ?? [] }));
}

/** Lists the sockets that listen, without their processes; undefined without /proc. */
export async function listeningSockets(): Promise<ListeningSocket[] | undefined> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => ifThere(readFile(path, 'latin1'))),
  );
  if (tables.every((table) => table === undefined)) return undefined;
  return tables.flatMap((table) => (table ?? '').split('\n').slice(1).flatMap(listenerIn));
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

/** Source: proc(5), /proc/net/tcp; 0A is TCP_LISTEN. */
function listenerIn(line: string): ListeningSocket[] {
  const [, local = '', , state, , , , uid, , inode] = line.trim().split(/\s+/);
  const [address = '', port = ''] = local.split(':');
  if (state !== '0A' || inode === undefined) return [];
  return [{ host: hostIn(address), port: Number.parseInt(port, 16), uid: Number(uid), inode }];
}

/** Words of 32 bits, each in the order of bytes of the processor, which is little-endian on all that we run on. */
function hostIn(hex: string): string {
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) =>
    (word.match(/../g) ?? []).reverse().map((byte) => Number.parseInt(byte, 16)),
  );
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16),
  );
  // As URLs have it: the longest run of zeros is left out, and IPv4 in it is shown as such.
  return new URL(`http://[${groups.join(':')}]`).hostname
    .slice(1, -1)
    .replace(/^::ffff:(\w+):(\w+)$/, mapped);
}

function mapped(_: string, high: string, low: string): string {
  const number = Number.parseInt(high, 16) * 65_536 + Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.');
}

/** Processes of others are not ours to look into, unless we are root. */
async function holdersOf(inodes: ReadonlySet<string>): Promise<Map<string, number[]>> {
  const holders = new Map<string, number[]>();
  for (const pid of await listPids()) {
    for (const name of await readdir(`/proc/${pid}/fd`).catch(none)) {
      const link = await readlink(`/proc/${pid}/fd/${name}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1];
      if (inode === undefined || !inodes.has(inode)) continue;
      const pids = holders.get(inode) ?? [];
      if (!pids.includes(pid)) pids.push(pid);
      holders.set(inode, pids);
    }
  }
  return holders;
}

function none(): string[] {
  return [];
}
