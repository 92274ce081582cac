import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { asOwner } from '../system/as-owner.ts';
import { temporaryBeside } from '../system/files.ts';

/** Replaces a file of somebody else's directory, with no more rights than that somebody has. */
export function writeAsOwner(home: string, path: string, content: string): void {
  asOwner(home, () => {
    const temporary = temporaryBeside(path);
    try {
      const file = openSync(temporary, 'wx', 0o600);
      try {
        writeSync(file, content);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  });
}
