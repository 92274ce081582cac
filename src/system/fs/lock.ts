import { closeSync, openSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { systemCode } from '../../errors/app-error.ts';
import { ifThere } from './exists.ts';

/**
 * A lock on a file that the kernel releases when its holder dies, however it dies. Node has no `flock`; SQLite's
 * exclusive transaction is one, on every platform we run on.
 */
export interface FileLock {
  release(): void;
}

/** Takes the lock, or returns undefined at once where another process holds it. */
export function tryLock(path: string): FileLock | undefined {
  createPrivate(path);
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (error instanceof Error && /locked|busy/.test(error.message)) return undefined;
    throw error;
  }
  held.add(database);
  return {
    release() {
      held.delete(database);
      database.close();
    },
  };
}

/** Locks of this process. Without a reference, the garbage collector would close the database, and the lock would be lost. */
const held = new Set<DatabaseSync>();

/**
 * Returns the process that holds the lock; undefined if none does, or if the system does not report locks (source: proc(5),
 * /proc/locks: kind, mode, access, pid, MAJOR:MINOR:INODE).
 */
export async function lockHolder(path: string): Promise<number | undefined> {
  const file = await ifThere(stat(path, { bigint: true }));
  const locks = (await ifThere(readFile('/proc/locks', 'latin1'))) ?? '';
  for (const line of locks.split('\n')) {
    const [, pid, inode] = /\sPOSIX\s+\S+\s+WRITE\s+(\d+)\s+\S+:(\d+)\s/.exec(line) ?? [];
    if (file !== undefined && inode === String(file.ino)) return Number(pid);
  }
  return undefined;
}

/** Whoever may read it may hold it, and keep us from starting. One that is there is let alone: to close it would unlock it. */
function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, 'ax', 0o600));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}
