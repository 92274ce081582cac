import { mkdirSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exists } from '../system/fs/exists.ts';
import { temporaryBeside } from '../system/fs/files.ts';
import { ownEnvironment, ProgramFailed, runAs } from '../system/process/run.ts';
import { asUser } from '../system/process/user.ts';
import type { Owner } from './owners.ts';
import { openFile } from './walk.ts';

const program = fileURLToPath(new URL('sqlite-snapshot.ts', import.meta.url));

/** What SQLite keeps beside a database, and a copy by its own means does not need. */
export const besideDatabase = ['-wal', '-shm', '-journal'];

/** As many as there are. */
const allPages = 2 ** 30;
/** 20 MB of the usual pages: less than 0.1 s, in which nobody can write. */
const fewPages = 5000;
/** In ms. Without WAL a copy begins anew whenever somebody has written, and might never end. */
const deadline = 60_000;
/** Least bytes that are copied in a millisecond of a longer deadline, with WAL. */
const leastSpeed = 5000;

export interface Snapshot extends AsyncDisposable {
  handle: FileHandle;
  size: number;
}

/** How a file looks that SQLite has made: `rest` where nobody has it open, so that it may be copied as it is. */
export async function databaseMode(
  handle: FileHandle,
  path: string,
): Promise<'none' | 'rest' | 'wal' | 'journal'> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(100), 0, 100, 0);
  // Source: sqlite.org, "Database File Format", 1.3.
  if (bytesRead < 100 || buffer.toString('latin1', 0, 16) !== 'SQLite format 3\0') return 'none';
  if (buffer[18] !== 2) return 'journal';
  return (await exists(`${path}-wal`)) ? 'wal' : 'rest';
}

/** Returns the time that the copy of so many bytes may well take, in ms. */
export function usualTime(bytes: number): number {
  return bytes / leastSpeed;
}

/**
 * A consistent copy of a database that is in use, made by SQLite itself. All is done with the rights of its owner, who may
 * put links where we work.
 * @param size of the database, in bytes
 * @param most time, beside the usual time for this size; in ms
 * @param scratch a directory that the copy may lie in, and the owner may write into
 * @throws ProgramFailed that says why there is none
 */
export async function takeSnapshot(
  path: string,
  mode: 'wal' | 'journal',
  size: number,
  most: number,
  owner: Owner,
  scratch: string,
): Promise<Snapshot> {
  const directory = temporaryBeside(join(scratch, 'snapshot'));
  await using stack = new AsyncDisposableStack();
  asUser(owner, () => makeDirectory(directory));
  // The owner may have put anything there. What cannot be removed must not prevent the backup.
  stack.defer(() =>
    runAs(owner, ['rm', '-rf', '--', directory], {
      env: ownEnvironment(),
      timeout: deadline,
    }).then(undefined, ignoreFailure),
  );
  const copy = join(directory, 'copy');
  const pages = String(mode === 'wal' ? allPages : fewPages);
  await runAs(owner, [process.execPath, program, path, copy, pages], {
    env: ownEnvironment(),
    timeout: Math.min(deadline, most) + (mode === 'wal' ? usualTime(size) : 0),
  });
  const file = await openFile(copy);
  if (file === undefined) throw new ProgramFailed(`there is no ${copy}`);
  stack.defer(() => file.handle.close());
  if (process.getuid?.() === 0 && file.stats.uid !== owner.uid)
    throw new ProgramFailed(`${copy} is not its own`);
  const held = stack.move();
  return { handle: file.handle, size: file.stats.size, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

function ignoreFailure(error: unknown): void {
  if (!(error instanceof ProgramFailed)) throw error;
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    throw new ProgramFailed((error as Error).message, { cause: error });
  }
}
