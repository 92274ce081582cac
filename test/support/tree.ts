import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What a directory holds: path → content of a file, `-> target` of a link, null for a directory. */
export async function readTree(directory: string): Promise<Record<string, string | null>> {
  const tree: Record<string, string | null> = {};
  for (const path of (await readdir(directory, { recursive: true })).sort()) {
    const absolute = join(directory, path);
    const stats = await lstat(absolute);
    if (stats.isSymbolicLink()) tree[path] = `-> ${await readlink(absolute)}`;
    else tree[path] = stats.isDirectory() ? null : await readFile(absolute, 'utf8');
  }
  return tree;
}
