import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ifThere } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { currentLog, rotatedLogs } from './files.ts';

/** Compression level. The default, 6, takes more than twice the time, for files that are a tenth smaller (measured). */
const level = 3;

/**
 * Compresses the rotated files of a directory, and removes leftovers of an interrupted compression. A compressed file gets its
 * name when it is complete; only then the original is removed.
 */
export async function compressRotated(directory: string): Promise<void> {
  for (const name of await listDirectory(directory)) {
    if (name.startsWith(currentLog) && name.endsWith('.part'))
      await rm(join(directory, name), { force: true });
  }
  for (const { path, compressed } of await rotatedLogs(directory)) {
    if (!compressed) await compress(path);
    await rm(path.replace(/\.gz$/, ''), { force: true });
  }
}

/** Compresses one file. Removes the part if that fails: on a full disk, the part would take up space that is needed. */
async function compress(path: string): Promise<void> {
  const part = `${path}.gz.part`;
  // Loaded with the first compression: the runner never frees the memory of a module.
  const { createGzip } = await import('node:zlib');
  try {
    await pipeline(createReadStream(path), createGzip({ level }), createWriteStream(part, { mode: 0o640 }));
    // The time of the last line decides which files are read, and which are removed first.
    const { atime, mtime } = await stat(path);
    await utimes(part, atime, mtime);
    await rename(part, `${path}.gz`);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** Removes the oldest rotated files of a directory, and keeps `count`. */
export async function removeOldest(directory: string, count: number): Promise<void> {
  const rotated = await rotatedLogs(directory);
  for (const { path } of rotated.slice(0, Math.max(0, rotated.length - count)))
    await rm(path, { force: true });
}

/** Removes the oldest rotated files of all directories until all logs together take no more than `maxBytes`. */
export async function removeOldestOfAll(directories: string[], maxBytes: number): Promise<void> {
  let total = 0;
  const rotated: { path: string; bytes: number; time: number }[] = [];
  for (const directory of directories) {
    total += (await ifThere(stat(join(directory, currentLog))))?.size ?? 0;
    for (const { path } of await rotatedLogs(directory)) {
      const stats = await ifThere(stat(path));
      if (stats === undefined) continue;
      rotated.push({ path, bytes: stats.size, time: stats.mtimeMs });
      total += stats.size;
    }
  }
  for (const { path, bytes } of rotated.sort((one, other) => one.time - other.time)) {
    if (total <= maxBytes) return;
    await rm(path, { force: true });
    total -= bytes;
  }
}
