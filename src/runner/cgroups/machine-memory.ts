import { dirname, join } from 'node:path';
import { memoryCgroup } from './find.ts';
import { readControl, readCounts } from './tree.ts';

export interface MachineMemory {
  /** bytes; what a group above us is limited to counts, as in a container */
  total: number;
  /** bytes that can be taken without anything being swapped out or killed */
  available: number;
}

/** Undefined where there is no /proc. */
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

/** What the machine itself, and Sluice, are to be left with. */
export function reserveOf({ total }: MachineMemory): number {
  return Math.min(1024 ** 3, Math.max(128 * 1024 ** 2, total / 8));
}

/** What a build may take at least, however little there seems to be: less than this, and none would ever succeed. */
const leastForBuild = 256 * 1024 ** 2;

/**
 * What a build may take where no setting says: what is there now, less a reserve, so that it is the build that ends when
 * it wants more, and not an app that is live.
 */
export function memoryForBuild(memory: MachineMemory): number {
  const left = memory.available - reserveOf(memory) / 2;
  return Math.max(leastForBuild, Math.floor(left / 4096) * 4096);
}

interface LimitedGroup {
  limit: number;
  /** without files in the cache that nobody has used for a while: they can be had back at once */
  used: number;
}

/** Our own group and those above it, as far as we see them, that have a limit. */
function groupsAbove(): LimitedGroup[] {
  const place = memoryCgroup();
  if (place === undefined) return [];
  const groups: LimitedGroup[] = [];
  for (let path = place.path; ; path = dirname(path)) {
    const directory = join(place.mount, path);
    const limit = Number(readControl(join(directory, place.limitFile)) ?? Number.NaN);
    // Where there is none it says `max`, or a number that no machine has.
    if (Number.isFinite(limit) && limit < 2 ** 60) {
      const current = Number(readControl(join(directory, place.usageFile)) ?? 0);
      const counts = readCounts(join(directory, 'memory.stat'));
      // Version 1 tells what is in the group alone, and with the prefix what is in those below it too.
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
