import { closeSync, openSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { systemCode } from '../../errors/app-error.ts';
import { ifThere } from './exists.ts';

/**
 * Takes the lock on a file until the result is disposed of; returns undefined at once if another process holds the lock. The
 * kernel releases the lock when its holder dies in any way. Node.js has no `flock`; an exclusive transaction of SQLite takes such
 * a lock on every platform.
 */
export function tryLock(path: string): Disposable | undefined {
  createPrivate(path);
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (error instanceof Error && /locked|busy/.test(error.message)) return undefined;
    throw error;
  }
  locks.add(database);
  return {
    [Symbol.dispose]() {
      locks.delete(database);
      database.close();
    },
  };
}

/** Locks of this process. Without a reference, the garbage collector would close the database, and the lock would be lost. */
const locks = new Set<DatabaseSync>();

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

/**
 * Creates the file of a lock. Other users must not read it: a reader can take the lock. An existing file is not opened, because its
 * close would release the lock.
 */
function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, 'ax', 0o600));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}
