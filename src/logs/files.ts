import { join } from 'node:path';
import { listDirectory } from '../system/fs/files.ts';

/** The file that is being written. */
export const currentLog = 'app.log';

/** A file that was full, or whose day was over: `app.log.7`, soon compressed to `app.log.7.gz`. */
interface RotatedLog {
  /** grows with each rotation, so that a higher one is newer whatever the clock did */
  number: number;
  path: string;
  compressed: boolean;
}

/** Where the rotated file with this number stands until it is compressed. */
export function rotatedLog(directory: string, number: number): string {
  return join(directory, `${currentLog}.${number}`);
}

/**
 * The rotated files of a directory, the oldest first. Where one is there both as it was and compressed, its compression
 * was complete and only the removal is missing: the compressed one counts.
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
  return [...found.values()].sort((a, b) => a.number - b.number);
}
