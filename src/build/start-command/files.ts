import { realpath, stat } from 'node:fs/promises';
import { join, normalize, relative, sep } from 'node:path';
import { readInstalledManifest } from '../../config/package-manifest.ts';
import { hasCode } from '../../errors/app-error.ts';
import { openFile } from '../../system/fs/read-file.ts';

/** Whether a path as written stays inside the directory it is relative to. */
export function staysInside(path: string): boolean {
  const normal = normalize(path);
  return !normal.startsWith('/') && normal !== '..' && !normal.startsWith(`..${sep}`);
}

/**
 * The file that `node path` would run, relative to `directory`: the path itself, with `.js`, or, of a directory,
 * its `main` or `index.js`. Undefined where there is none.
 */
export async function resolveFile(directory: string, path: string): Promise<string | undefined> {
  const kind = await kindOf(join(directory, path));
  if (kind === 'file') return normalize(path);
  if ((await kindOf(join(directory, `${path}.js`))) === 'file') return normalize(`${path}.js`);
  if (kind !== 'directory') return undefined;
  const main = (await readInstalledManifest(directory, path))?.main;
  const inside = [main, main && `${main}.js`, main && join(main, 'index.js'), 'index.js'];
  for (const name of inside) {
    if (name === undefined || name === '' || !staysInside(join(path, name))) continue;
    if ((await kindOf(join(directory, path, name))) === 'file') return join(path, name);
  }
  return undefined;
}

/** Whether Node.js can run a file: by its name, or by a first line such as `#!/usr/bin/env node`. */
export async function isNodeProgram(directory: string, path: string): Promise<boolean> {
  if (/\.[cm]?[jt]s$/.test(path)) return true;
  await using file = await openFile(join(directory, path), directory);
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(256), position: 0 });
  const [first = ''] = buffer.toString('utf8', 0, bytesRead).split('\n', 1);
  return /^#!.*\bnode\b/.test(first);
}

/** What a symbolic link ends at, relative to `directory`; undefined where that is outside, or nothing. */
export async function followInside(directory: string, path: string): Promise<string | undefined> {
  try {
    const inside = relative(await realpath(directory), await realpath(join(directory, path)));
    return staysInside(inside) ? inside : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function kindOf(path: string): Promise<'file' | 'directory' | undefined> {
  try {
    const stats = await stat(path);
    if (stats.isFile()) return 'file';
    return stats.isDirectory() ? 'directory' : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP');
}
