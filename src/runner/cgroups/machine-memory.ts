import { dirname, join } from 'node:path';
import { memoryCgroup } from './find.ts';
import { readControl, readCounts } from './tree.ts';

interface MachineMemory {
  /** bytes; limits of groups above ours count, as in a container */
  total: number;
  /** bytes that can be used without swapping or killing */
  available: number;
}

/** Reads the memory of the machine; undefined without /proc. */
export function machineMemory(): MachineMemory | undefined {
  const text = readControl('/proc/meminfo');
  if (text === undefined) return undefined;
  let total = kibibytes(text, 'MemTotal');
  let available = kibibytes(text, 'MemAvailable');
  for (const group of groupsAbove()) {
    total = Math.min(total, group.limit);
    available = Math.min(available, Math.max(0, group.limit - group.used));
  }
  return { total, available };
}

/** Returns the bytes that the machine itself and Sluice need. */
export function reserveOf({ total }: MachineMemory): number {
  return Math.min(1024 ** 3, Math.max(128 * 1024 ** 2, total / 8));
}

/** Least memory limit of a build, in bytes: with less, no build would succeed. */
const leastForBuild = 256 * 1024 ** 2;

/**
 * Returns the memory limit of a build without a setting, in bytes: the free memory less a reserve, so that the kernel ends the
 * build rather than a live app.
 */
export function memoryForBuild(memory: MachineMemory): number {
  const left = memory.available - reserveOf(memory) / 2;
  return Math.max(leastForBuild, Math.floor(left / 4096) * 4096);
}

interface LimitedGroup {
  limit: number;
  /** bytes in use, without inactive files in the cache: the kernel can free them at once */
  used: number;
}

/** Returns the groups with a limit, from our own group up to the visible root. */
function groupsAbove(): LimitedGroup[] {
  const own = memoryCgroup();
  if (own === undefined) return [];
  const groups: LimitedGroup[] = [];
  for (let path = own.path; ; path = dirname(path)) {
    const directory = join(own.mount, path);
    const limit = Number(readControl(join(directory, own.limitFile)) ?? Number.NaN);
    // Without a limit, the file has `max`, or a number that no machine has.
    if (Number.isFinite(limit) && limit < 2 ** 60) {
      const current = Number(readControl(join(directory, own.usageFile)) ?? 0);
      const counts = readCounts(join(directory, 'memory.stat'));
      // In version 1, the count without the prefix leaves out the groups below.
      const cache = counts['total_inactive_file'] ?? counts['inactive_file'] ?? 0;
      groups.push({ limit, used: current - cache });
    }
    if (path === '/' || path === '.') return groups;
  }
}

function kibibytes(text: string, name: string): number {
  const value = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1];
  return value === undefined ? Number.POSITIVE_INFINITY : Number(value) * 1024;
}
