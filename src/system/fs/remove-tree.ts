import { readdir, readFile, realpath, rm, rmdir, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { hasCode } from '../../errors/app-error.ts';
import { run } from '../process/run.ts';
import { ifThere } from './exists.ts';

/** Removes a file or a directory with everything below it, if it exists: see `emptyDirectory`. */
export async function removeTree(path: string): Promise<void> {
  const isFull = await rmdir(path).then(
    () => false,
    (error: unknown) => hasCode(error, 'ENOTEMPTY', 'EEXIST'),
  );
  if (isFull) await emptyDirectory(path);
  await remove(path);
}

/**
 * Removes all entries of a directory, if it exists, except the entry named `except`. Programs do the work, however large or deep
 * the directory is: Node.js would keep all names in memory, and cannot reach paths of more than 4095 bytes. Makes read-only
 * directories writable, such as the caches of some tools: otherwise only root could remove their entries.
 * @throws the error of the system, such as EBUSY, with nothing removed, if something is mounted in the directory
 */
export async function emptyDirectory(directory: string, except = ''): Promise<void> {
  const path = resolve(directory);
  for (const mount of await mountsIn(path))
    if (mount.split('/')[0] !== except) await rmdir(join(path, mount));
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
    if (name !== except) await remove(join(directory, name));
  }
}

/** Lists the mount points below a directory, relative to it: `rm` would remove the files that are mounted there (source: proc(5)). */
async function mountsIn(directory: string): Promise<string[]> {
  const table = (await ifThere(readFile('/proc/self/mountinfo', 'utf8'))) ?? '';
  const start = `${(await ifThere(realpath(directory))) ?? directory}/`;
  return table
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replaceAll(/\\(\d{3})/g, (_, code) => fromOctal(code)))
    .filter((mount) => mount.startsWith(start))
    .map((mount) => mount.slice(start.length));
}

function fromOctal(code: string): string {
  return String.fromCharCode(Number.parseInt(code, 8));
}

/** Removes what no program has removed. Repeats that if another process still writes, with pauses that grow by 100 ms. */
async function remove(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 5 });
  } catch (error) {
    // For a protected file, `rm` of Node.js fails with ENOTDIR. `unlink` fails with the error of the system, such as EPERM.
    const { path: file = path } = error as NodeJS.ErrnoException;
    if (hasCode(error, 'ENOTDIR')) await unlink(file);
    throw error;
  }
}
