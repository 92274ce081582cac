import { readdir, rm, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { hasCode } from '../../errors/app-error.ts';
import { run } from '../process/run.ts';
import { ifThere } from './exists.ts';

/** Node.js repeats a call if another process still writes into a directory, with pauses that grow by 100 ms. */
const remove = { recursive: true, force: true, maxRetries: 5 };

/** Removes a file or a directory with everything below it, if it exists: see `emptyDirectory`. */
export async function removeTree(path: string): Promise<void> {
  const isFull = await rmdir(path).then(
    () => false,
    (error: unknown) => hasCode(error, 'ENOTEMPTY', 'EEXIST'),
  );
  if (isFull) await emptyDirectory(path);
  await rm(path, remove);
}

/**
 * Removes all entries of a directory, if it exists, except the entry named `except`. Programs do the work, however large or deep
 * the directory is: Node.js would keep all names in memory, and cannot reach paths of more than 4095 bytes. Makes read-only
 * directories writable, such as the caches of some tools: otherwise only root could remove their entries.
 * @throws the error of the system
 */
export async function emptyDirectory(directory: string, except = ''): Promise<void> {
  const path = resolve(directory);
  const find = (...conditions: string[]) => run('find', [path, ...conditions]).catch(() => undefined);
  const removeEntries = () =>
    find(
      ...['-mindepth', '1', '-maxdepth', '1', '!', '-name', except],
      ...['-exec', 'rm', '-rf', '--', '{}', '+'],
    );
  if ((await removeEntries()) === undefined) {
    await find(...['-type', 'd', '!', '-perm', '-u=rwx'], ...['-execdir', 'chmod', 'u+rwx', '{}', ';']);
    await removeEntries();
  }
  // Removes the rest, such as without free descriptors for a program, or reports why that fails.
  for (const name of (await ifThere(readdir(directory))) ?? []) {
    if (name !== except) await rm(join(directory, name), remove);
  }
}
