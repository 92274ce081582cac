import { lstat, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { hasCode } from '../../src/errors/app-error.ts';
import { waitFor } from './wait.ts';

/** Content by path; what is neither text nor bytes is written as JSON. */
export type Files = Record<string, unknown>;

export async function writeTree(directory: string, files: Files): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const file = join(directory, path);
    await mkdir(dirname(file), { recursive: true });
    const isRaw = typeof content === 'string' || Buffer.isBuffer(content);
    await writeFile(file, isRaw ? content : JSON.stringify(content, null, 2));
  }
}

/** Reads a directory tree: path → content of a file, `-> target` of a link, null for a directory. */
export async function readTree(directory: string): Promise<Record<string, string | null>> {
  const tree: Record<string, string | null> = {};
  // Without file types, Node.js would follow links to directories.
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  for (const absolute of entries.map(({ parentPath, name }) => join(parentPath, name)).sort()) {
    const path = relative(directory, absolute);
    const stats = await lstat(absolute);
    if (stats.isSymbolicLink()) tree[path] = `-> ${await readlink(absolute)}`;
    else tree[path] = stats.isDirectory() ? null : await readFile(absolute, 'utf8');
  }
  return tree;
}

/** Lists the paths of all files and directories below a directory, although some of these may disappear meanwhile. */
export function pathsBelow(directory: string): Promise<string[]> {
  const list = () =>
    readdir(directory, { recursive: true }).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error;
      return false as const;
    });
  return waitFor(list, { what: `a listing of ${directory}` });
}

/** Waits until a removed release has only its records: a deploy does not wait for the removal of its files. */
export function untilRemoved(release: string): Promise<unknown> {
  const isRemoved = async () => (await readdir(release).catch(() => [])).join() === '.sluice';
  return waitFor(isRemoved, { what: `the removal of ${release}` });
}
