import { chmod, link, lstat, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode, systemCode } from '../errors/app-error.ts';

/** Result of `linkAssets`. */
export interface LinkedAssets {
  linked: number;
  /** number of files that the system refused to link, and its code for the last of them */
  refused: number;
  code: string | null;
}

/**
 * Links files of earlier releases into a new release at the same path. Replaces nothing, and follows no link. A linked file loses
 * its write permissions, because both releases have the same file.
 * @param tree of the new release
 * @param releases directory of all releases
 * @param files paths relative to `releases`, such as `7/dist/assets/index-DiwrgTda.js`
 */
export async function linkAssets(tree: string, releases: string, files: string[]): Promise<LinkedAssets> {
  const result: LinkedAssets = { linked: 0, refused: 0, code: null };
  const directories = new Map<string, Promise<boolean>>();
  for (const file of files) {
    const path = file.slice(file.indexOf('/') + 1);
    try {
      if (!(await makeDirectory(tree, dirname(path), directories))) continue;
      if (await linkOne(join(releases, file), join(tree, path))) result.linked += 1;
    } catch (error) {
      const code = systemCode(error);
      if (code === undefined) throw error;
      result.refused += 1;
      result.code = code;
    }
  }
  return result;
}

/** Returns false if the earlier file is gone or is not a regular file, and if the new release has something at the path. */
async function linkOne(from: string, to: string): Promise<boolean> {
  try {
    const stats = await lstat(from);
    if (!stats.isFile()) return false;
    await link(from, to);
    if ((stats.mode & 0o222) !== 0) await chmod(to, stats.mode & 0o555);
    return true;
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR', 'EEXIST')) throw error;
    return false;
  }
}

/** Makes a directory and those above it. Returns false if something else is in the place of one of them, such as a link. */
function makeDirectory(tree: string, path: string, known: Map<string, Promise<boolean>>): Promise<boolean> {
  if (path === '.') return Promise.resolve(true);
  const made = known.get(path) ?? makeOne(tree, path, known);
  known.set(path, made);
  return made;
}

async function makeOne(tree: string, path: string, known: Map<string, Promise<boolean>>): Promise<boolean> {
  if (!(await makeDirectory(tree, dirname(path), known))) return false;
  try {
    await mkdir(join(tree, path), { mode: 0o755 });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  return (await lstat(join(tree, path))).isDirectory();
}

if (import.meta.main) {
  const [, , tree = '', releases = '', ...files] = process.argv;
  process.stdout.write(`${JSON.stringify(await linkAssets(tree, releases, files))}\n`);
}
