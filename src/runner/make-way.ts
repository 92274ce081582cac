import { randomBytes } from 'node:crypto';
import { renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../errors/app-error.ts';

/**
 * Removes what is in the place of a socket that is to be made. The server may write where our sockets are: a directory that
 * it has put in the place of one must not keep us from starting.
 * @param warn told what was done about that
 */
export function makeWay(path: string, warn: (message: string) => void): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    if (systemCode(error) !== 'ERR_FS_EISDIR') throw error;
    warn(moveAside(dirname(path), basename(path)));
  }
}

/** It may be anything, and anybody's: nobody goes by its new name. @returns what to tell of it */
export function moveAside(directory: string, name: string): string {
  const aside = `.${name}-${randomBytes(6).toString('hex')}`;
  renameSync(join(directory, name), join(directory, aside));
  return `something of somebody else's was in the place of ${name}, and is now ${aside} beside it`;
}
