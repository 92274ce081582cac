import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { asOwner } from '../system/process/user.ts';

/**
 * The content of a file of somebody else's directory, read as that somebody: an ordinary file and no link, FIFO or
 * device, and no more of it than `largest` bytes.
 * @throws Error that says what is wrong with it
 */
export function readUntrusted(home: string, path: string, largest: number): string {
  return asOwner(home, () => {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = openSync(path, flags);
    try {
      const stats = fstatSync(file);
      if (!stats.isFile()) throw new Error(`${path} is no file`);
      if (stats.size > largest)
        throw new Error(`${path} has ${stats.size} bytes, and ${largest} are read at most`);
      const buffer = Buffer.alloc(largest);
      const length = readSync(file, buffer, 0, largest, 0);
      return buffer.toString('utf8', 0, length);
    } finally {
      closeSync(file);
    }
  });
}
