import { constants } from 'node:fs';
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { systemCode } from '../../errors/app-error.ts';

/** What is at a path is no file that may be read: what it is instead. */
export class NoFile extends Error {}
export class LeadsOut extends NoFile {}

/**
 * Opens a file that somebody else may replace by whatever they like while we do: a FIFO is not waited for, and a link
 * out of `within` is not followed, also where it was none a moment ago: what counts is what has been opened.
 * @param within a directory; without one, a link may lead anywhere
 * @throws NoFile; system errors
 */
export async function openFile(path: string, within?: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    // A socket.
    throw systemCode(error) === 'ENXIO' ? new NoFile('is no file') : error;
  });
  try {
    if (!(await file.stat()).isFile()) throw new NoFile('is no file');
    if (within !== undefined && !(await isInside(file, within)))
      throw new LeadsOut('is a link that leads out of the app');
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Its text, as far as it goes when it is asked for: somebody may be writing into it without end. */
export async function readText(file: FileHandle): Promise<string> {
  const { size } = await file.stat();
  const content = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const { bytesRead } = await file.read(content, length, size - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return content.toString('utf8', 0, length);
}

/** Where there is no /proc, apps have no users of their own, and a link leads to nothing that they could not read. */
async function isInside(file: FileHandle, within: string): Promise<boolean> {
  try {
    const path = await readlink(`/proc/self/fd/${file.fd}`);
    return path.startsWith(`${await realpath(within)}${sep}`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' && process.platform !== 'linux') return true;
    throw error;
  }
}
