import { closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { systemCode } from '../errors/app-error.ts';

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
  return { release: () => database.close() };
}

/** Whoever may read it may hold it, and keep us from starting. One that is there is let alone: to close it would unlock it. */
function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, 'ax', 0o600));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}
