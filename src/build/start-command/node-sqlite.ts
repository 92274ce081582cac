import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, systemCode } from '../../errors/app-error.ts';
import { NoFile, openFile, readText } from '../../system/fs/read-file.ts';

/** Of an app's own code, which is what these bounds have room for; a bundle of megabytes is not searched. */
const defaultBounds = { files: 500, bytes: 8 * 1024 ** 2, fileBytes: 1024 ** 2 };

/** Nothing in them runs in a worker. */
const notSearched = new Set(['node_modules', 'test', 'tests', '__tests__']);

/**
 * Whether the app's own code uses the database that Node.js brings: no dependency in package.json would tell.
 * The upper levels are searched first, at most so many files and bytes; links and hidden directories are not followed.
 */
export async function usesNodeSqlite(directory: string, bounds = defaultBounds): Promise<boolean> {
  let { files, bytes } = bounds;
  const directories = [directory];
  for (const path of directories) {
    for (const entry of await readdir(path, { withFileTypes: true }).catch(unlessForbidden)) {
      const isSearched = !notSearched.has(entry.name) && !entry.name.startsWith('.');
      if (entry.isDirectory() && isSearched) directories.push(join(path, entry.name));
      if (!entry.isFile() || !/(?<!\.(?:test|spec|d))\.[cm]?[jt]s$/.test(entry.name)) continue;
      const file = join(path, entry.name);
      const code = await readCode(file, directory, bounds.fileBytes);
      if (code === undefined) continue;
      files -= 1;
      bytes -= code.length;
      if (files < 0 || bytes < 0) return false;
      if (/['"`]node:sqlite['"`]/.test(code)) return true;
    }
  }
  return false;
}

/** Undefined where it is larger than that, or may not be read, or has become something else. */
async function readCode(path: string, within: string, largest: number): Promise<string | undefined> {
  try {
    await using file = await openFile(path, within);
    return (await file.stat()).size > largest ? undefined : await readText(file);
  } catch (error) {
    if (error instanceof NoFile || hasCode(error, 'EACCES', 'ENOENT')) return undefined;
    throw error;
  }
}

/** An archive may bring files that may not be read: they have nothing to tell. */
function unlessForbidden(error: unknown): [] {
  if (systemCode(error) === 'EACCES') return [];
  throw error;
}
