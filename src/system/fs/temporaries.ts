import { randomBytes } from 'node:crypto';
import { lstat, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isAlive } from '../process/processes.ts';
import { ifThere } from './exists.ts';
import { removeTree } from './remove-tree.ts';

/** Returns an unused name beside `path`, for content that is renamed to `path` when it is complete. */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.tmp-${process.pid}-${randomBytes(6).toString('hex')}`);
}

/** Returns true for names that `temporaryBeside` returns. */
export function isTemporary(name: string): boolean {
  return temporaryName.test(name);
}

const temporaryName = /^\.tmp-(\d+)-[0-9a-f]{12}$/;

/**
 * Removes temporary files of killed writers from a directory. Files of other running processes stay. Files with our own pid are of
 * an earlier process, as is usual in containers: call this function before the first write.
 */
export async function sweepTemporaries(directory: string): Promise<void> {
  for (const name of await leftTemporaries(directory)) {
    await removeTree(join(directory, name)).catch(async (error: unknown) => {
      // The next command of root removes files of root.
      if ((await lstat(join(directory, name))).uid === process.getuid?.()) throw error;
    });
  }
}

/** Lists the temporary files of killed writers in a directory. */
export async function leftTemporaries(directory: string): Promise<string[]> {
  return ((await ifThere(readdir(directory))) ?? []).filter((name) => {
    const pid = Number(temporaryName.exec(name)?.[1]);
    return pid === process.pid || (pid > 0 && !isAlive(pid));
  });
}
