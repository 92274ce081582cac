import { dirname, join } from 'node:path';
import { isUnified, ownCgroup } from './find.ts';
import { parseCounts, readControl } from './tree.ts';

export interface MachineMemory {
  /** bytes; limits of groups above ours count, as in a container */
  total: number;
  /** bytes that can be used without swapping or killing */
  available: number;
}

/** Reads the memory of the machine; undefined without /proc. */
export function machineMemory(): MachineMemory | undefined {
  const text = readControl('/proc/meminfo');
  if (text === undefined) return undefined;
  const memory = { total: kibibytes(text, 'MemTotal'), available: kibibytes(text, 'MemAvailable') };
  const own = ownCgroup('memory');
  if (own === undefined) return memory;
  // From our own group up to the visible root.
  for (let path = own.path; ; path = dirname(path)) {
    applyLimit(memory, join(own.mount, path));
    if (path === '/' || path === '.') return memory;
  }
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

/** Memory with which most builds succeed, in bytes. */
const enoughForBuild = 1024 ** 3;

/** Returns true if memory is short for a build. @param limit of its memory, in bytes; null for none */
export function isShortForBuild(
  limit: number | null,
  memory: MachineMemory | undefined = machineMemory(),
): boolean {
  return memory !== undefined && memoryForBuild(memory) < Math.min(limit ?? enoughForBuild, enoughForBuild);
}

/** Reduces `memory` by the limit of a group, if it has one. @param group absolute path */
function applyLimit(memory: MachineMemory, group: string): void {
  const [limitFile, usageFile] = isUnified()
    ? ['memory.max', 'memory.current']
    : ['memory.limit_in_bytes', 'memory.usage_in_bytes'];
  const limit = Number(readControl(join(group, limitFile)) ?? Number.NaN);
  // Without a limit, the file has `max`, or a number that no machine has.
  if (!(limit < 2 ** 60)) return;
  const counts = parseCounts(readControl(join(group, 'memory.stat')) ?? '');
  // The kernel can free inactive files in the cache at once. In version 1, the count without the prefix leaves out the groups below.
  const cache = counts['total_inactive_file'] ?? counts['inactive_file'] ?? 0;
  const used = Number(readControl(join(group, usageFile))) - cache;
  memory.total = Math.min(memory.total, limit);
  memory.available = Math.min(memory.available, Math.max(0, limit - used));
}

function kibibytes(text: string, name: string): number {
  const value = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1];
  return value === undefined ? Number.POSITIVE_INFINITY : Number(value) * 1024;
}
