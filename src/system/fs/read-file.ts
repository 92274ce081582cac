import { constants } from 'node:fs';
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { text } from 'node:stream/consumers';
import { hasCode, systemCode } from '../../errors/app-error.ts';
import { formatBytes } from '../text/format.ts';

/** Error for a path that is not a file that may be read. The message says what it is instead. */
export class NotAFile extends Error {}
export class PointsOutside extends NotAFile {}

/**
 * Opens a file that another user may replace meanwhile. Does not wait for a FIFO, and does not follow a link out of `within`: the
 * opened file is checked, not the path.
 * @param within directory of the file; without it, a link may point anywhere
 * @throws NotAFile; system errors
 */
export async function openAppFile(path: string, within?: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    // A socket.
    throw systemCode(error) === 'ENXIO' ? new NotAFile('is not a file') : error;
  });
  try {
    if (!(await file.stat()).isFile()) throw new NotAFile('is not a file');
    if (within !== undefined && !(await isInside(file, within)))
      throw new PointsOutside('is a link to a file outside of the app');
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Reads the text that a file has now: another process may write into the file without end.
 * @param within directory of the file: see `openAppFile`
 * @param limit of the size, in bytes
 * @throws NotAFile, also for a larger file; system errors
 */
export async function readAppText(path: string, within: string | undefined, limit: number): Promise<string> {
  await using file = await openAppFile(path, within);
  const { size } = await file.stat();
  if (size > limit) throw new NotAFile(tooLarge(size, limit));
  return size === 0 ? '' : await text(file.createReadStream({ end: size - 1, autoClose: false }));
}

/**
 * Reads the text of a file that an app may have: see `readAppText`. Returns undefined for a path that is no file of the app, and
 * for a file that is too large or not readable.
 */
export async function readAppTextIfAny(
  directory: string,
  name: string,
  limit: number,
): Promise<string | undefined> {
  try {
    return await readAppText(join(directory, name), directory, limit);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * Errors for paths that an app does not have, or that its files make unusable. ERR_INVALID_ARG_VALUE is the error for a NUL in a
 * path.
 */
const missing = [
  ...['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP', 'EACCES', 'ENAMETOOLONG', 'ENXIO'],
  'ERR_INVALID_ARG_VALUE',
];

/**
 * Returns true if an error says that an app has no file or directory at a path, or none that can be read. Returns false for a
 * shortage, such as of descriptors: a caller that treats a shortage as a missing file decides differently at the next try.
 */
export function isMissing(error: unknown): boolean {
  return error instanceof NotAFile || hasCode(error, ...missing);
}

/** Describes a file of `size` bytes, for messages such as `sluice.json is 5 MiB, more than the limit of 4 MiB`. */
export function tooLarge(size: number, limit: number): string {
  return `is ${formatBytes(size)}, more than the limit of ${formatBytes(limit)}`;
}

/** Checks the path of an open file. Without /proc, apps have no users, so a link reaches only files that an app can read. */
async function isInside(file: FileHandle, within: string): Promise<boolean> {
  try {
    const path = await readlink(`/proc/self/fd/${file.fd}`);
    return path.startsWith(`${await realpath(within)}${sep}`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' && process.platform !== 'linux') return true;
    throw error;
  }
}
