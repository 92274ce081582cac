import { join } from 'node:path';
import { exists } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';

/** Name of the file that is written. */
export const currentLog = 'app.log';

/** Rotated file: `app.log.7`, compressed to `app.log.7.gz`. */
interface RotatedLog {
  /** grows with each rotation: a higher number is newer, whatever the clock did */
  number: number;
  path: string;
  compressed: boolean;
}

/** Returns the path of a rotated file before its compression. */
export function rotatedLog(directory: string, number: number): string {
  return join(directory, `${currentLog}.${number}`);
}

/**
 * Lists the rotated files of a directory, the oldest first. If a file exists both as it was and compressed, the compression is
 * complete, and the compressed file is listed.
 */
export async function rotatedLogs(directory: string): Promise<RotatedLog[]> {
  const found = new Map<number, RotatedLog>();
  for (const name of await listDirectory(directory)) {
    const [, digits, gz] = /^app\.log\.(\d+)(\.gz)?$/.exec(name) ?? [];
    if (digits === undefined) continue;
    const number = Number(digits);
    const compressed = gz !== undefined;
    if (compressed || !found.has(number))
      found.set(number, { number, path: join(directory, name), compressed });
  }
  return [...found.values()].sort((one, other) => one.number - other.number);
}

/** Longest gap between two listed numbers that a compression may explain. Longer gaps are files that were removed. */
const maxGap = 100;

/**
 * Lists the numbers of rotated files after the number `after`, in order. Some of these files may not exist. The list of the directory
 * may be incomplete: a large directory is not read at one instant, and a compression may hide a file. So gaps up to `maxGap`
 * are filled, and the next number is looked up by name.
 */
export async function rotatedNumbers(directory: string, after?: number): Promise<number[]> {
  const listed = (await rotatedLogs(directory)).map(({ number }) => number);
  const found = listed.filter((number) => number > (after ?? -1));
  let next = Math.max(after ?? 0, found.at(-1) ?? 0) + 1;
  for (; await isThere(directory, next); next += 1) found.push(next);
  return found.flatMap((number, index) => {
    const last = index === 0 ? after : found[index - 1];
    const first = last !== undefined && number - last <= maxGap ? last + 1 : number;
    return Array.from({ length: number - first + 1 }, (_, offset) => first + offset);
  });
}

/** Returns true if a rotated file exists. The compressed file is checked last: it exists before the original is removed. */
async function isThere(directory: string, number: number): Promise<boolean> {
  const path = rotatedLog(directory, number);
  return (await exists(path)) || (await exists(`${path}.gz`));
}
