import { readdir, readFile, readlink } from 'node:fs/promises';

/** Resources of a process, from the kernel. */
export interface Taken {
  /** in bytes */
  rss: number;
  /** of those, what is its own alone; pages of a file are not, whoever else maps it */
  private: number;
  threads: number;
  children: number;
  /** open file descriptors, kind to count */
  descriptors: Record<string, number>;
}

/** Reads /proc: Linux only. */
export async function readTaken(pid: number): Promise<Taken> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1]) * 1024;
  return {
    rss: kilobytes('Rss'),
    private: kilobytes('Private_Dirty'),
    threads: (await readdir(`/proc/${pid}/task`)).length,
    children: await countChildren(pid),
    descriptors: await descriptors(pid),
  };
}

/** Ports that `pid` listens on, by IPv4. See proc(5): the state 0A is LISTEN, addresses are hexadecimal, the tenth field is the inode. */
export async function listeningPorts(pid: number): Promise<number[]> {
  const inodes = new Set((await links(pid)).map((link) => /^socket:\[(\d+)\]/.exec(link)?.[1]));
  const [, ...rows] = (await readFile('/proc/net/tcp', 'utf8')).trim().split('\n');
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A' && inodes.has(fields[9]))
    .map((fields) => Number.parseInt(fields[1]?.split(':')[1] ?? '', 16));
}

async function countChildren(pid: number): Promise<number> {
  let count = 0;
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const children = await readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '');
    count += children.split(' ').filter((child) => child !== '').length;
  }
  return count;
}

async function links(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  // One may be closed between the two looks.
  const found = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
  return found.filter((link) => link !== '');
}

async function descriptors(pid: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const link of await links(pid)) {
    const kind = /^(\w+):\[/.exec(link)?.[1] ?? /^anon_inode:\[?(\w+)/.exec(link)?.[1] ?? fileKind(link);
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

function fileKind(path: string): string {
  if (/\/outputs\//.test(path)) return 'fifo';
  return path.endsWith('(deleted)') ? 'deleted file' : 'file';
}
