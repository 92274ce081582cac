import { renameSync, rmSync } from 'node:fs';
import { temporaryBeside, writeSynced } from '../system/fs/files.ts';
import { asOwner } from '../system/process/user.ts';

/** Replaces a file of somebody else's directory, with no more rights than that somebody has. */
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
