import { closeSync, constants, fstatSync, openSync, readSync, renameSync, rmSync } from 'node:fs';
import { writeSynced } from '../system/fs/files.ts';
import { temporaryBeside } from '../system/fs/temporaries.ts';
import { asOwner } from '../system/process/user.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

/**
 * Reads a regular file in the directory of another user, with the rights of that user. Opens no link, FIFO or device.
 * @param largest limit of the size, in bytes
 * @throws Error that names the fault of the file
 */
export function readUntrusted(home: string, path: string, largest: number): string {
  return asOwner(home, () => {
    const file = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stats = fstatSync(file);
      if (!stats.isFile()) throw new Error(`${path} is not a regular file`);
      if (stats.size > largest) throw new Error(`${path} has ${stats.size} bytes (limit: ${largest})`);
      const buffer = Buffer.alloc(largest);
      return buffer.toString('utf8', 0, readSync(file, buffer, 0, largest, 0));
    } finally {
      closeSync(file);
    }
  });
}

/** Replaces a file in the directory of another user, with the rights of that user. */
export function writeAsOwner(home: string, path: string, content: string): void {
  asOwner(home, () => {
    const temporary = temporaryBeside(path);
    try {
      writeSynced(temporary, content, 0o600);
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  });
}
