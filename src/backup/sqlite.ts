import { mkdirSync, type Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemCode } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { temporaryBeside } from '../system/fs/temporaries.ts';
import { ownEnvironment, ProgramFailed, runAs } from '../system/process/run.ts';
import { asUser } from '../system/process/user.ts';
import type { Owner } from './owners.ts';
import { openWithoutLinks } from './walk.ts';

const program = fileURLToPath(new URL('sqlite-snapshot.ts', import.meta.url));

/** Endings of files that SQLite keeps beside a database. A copy by SQLite does not need these files. */
export const besideDatabase = ['-wal', '-shm', '-journal'];

const allPages = 2 ** 30;
/** 20 MB of usual pages. Nobody can write while they are copied, for less than 0.1 s. */
const fewPages = 5000;
/** Limit of the time for a copy, in ms. Without WAL, each write restarts the copy, so it might never end. */
const deadline = 60_000;
/** Least speed of a copy with WAL, in bytes per ms. */
const minSpeed = 5000;

/** Returns the mode of a database in use; undefined for other files, and for a database with WAL that no program has open. */
export async function databaseMode(handle: FileHandle, path: string): Promise<'wal' | 'journal' | undefined> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(100), 0, 100, 0);
  // Source: sqlite.org, "Database File Format", 1.3.
  if (bytesRead < 100 || buffer.toString('latin1', 0, 16) !== 'SQLite format 3\0') return undefined;
  if (buffer[18] !== 2) return 'journal';
  return (await exists(`${path}-wal`)) ? 'wal' : undefined;
}

/** Returns the usual time for a copy of so many bytes, in ms. */
export function usualTime(bytes: number): number {
  return bytes / minSpeed;
}

/**
 * Makes a consistent copy of a database in use, by SQLite. Works with the rights of the database's owner, who may create links
 * in the directories. The copy has no name any more, so nothing remains of it when it is closed.
 * @param size of the database, in bytes
 * @param most time beside the usual time for this size, in ms
 * @param scratch directory for the copy, in which the owner may write
 * @throws ProgramFailed, or an error of the system, with the reason
 */
export async function copyDatabase(
  path: string,
  mode: 'wal' | 'journal',
  size: number,
  most: number,
  owner: Owner,
  scratch: string,
): Promise<{ handle: FileHandle; stats: Stats }> {
  const directory = temporaryBeside(join(scratch, 'snapshot'));
  asUser(owner, () => mkdirSync(directory, { mode: 0o700 }));
  const copy = join(directory, 'copy');
  const pages = String(mode === 'wal' ? allPages : fewPages);
  try {
    await runAs(owner, [process.execPath, program, path, copy, pages], {
      env: ownEnvironment(),
      timeout: Math.min(deadline, most) + (mode === 'wal' ? usualTime(size) : 0),
    });
    const file = await openWithoutLinks(copy);
    if (file === undefined) throw new ProgramFailed(`${copy} is missing`);
    if (process.getuid?.() !== 0 || file.stats.uid === owner.uid) return file;
    await file.handle.close();
    throw new ProgramFailed(`${copy} belongs to another user`);
  } finally {
    // The owner may have put any files there. A failure to remove them must not prevent the backup.
    const remove = runAs(owner, ['rm', '-rf', '--', directory], { env: ownEnvironment(), timeout: deadline });
    await remove.catch((error: unknown) => {
      if (!(error instanceof ProgramFailed) && systemCode(error) === undefined) throw error;
    });
  }
}
