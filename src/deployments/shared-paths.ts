import { lstat, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { dirname, extname, join, relative } from 'node:path';
import { systemCode } from '../errors/app-error.ts';

/**
 * Puts links into the shared directory where a release has paths that outlive releases. What the first release with
 * such a path brings along moves there; what later ones bring gives way to what is there.
 *
 * A path that nobody brings becomes an empty directory, unless its name has an extension, as in `data/shop.db`: then
 * the link points at nothing until the app creates the file, which works through a link (SQLite puts its journal
 * beside the file that the link leads to).
 */
export async function linkShared(tree: string, shared: string, paths: string[]): Promise<void> {
  for (const path of paths) await linkOne(join(tree, path), join(shared, path));
}

async function linkOne(inTree: string, inShared: string): Promise<void> {
  await mkdir(dirname(inTree), { recursive: true });
  await mkdir(dirname(inShared), { recursive: true, mode: 0o700 });
  if (await exists(inShared)) await rm(inTree, { recursive: true, force: true });
  else if (await exists(inTree)) await rename(inTree, inShared);
  else if (extname(inShared) === '') await mkdir(inShared);
  // Relative, so that the home can be moved; staging and releases lie equally deep.
  await symlink(relative(dirname(inTree), inShared), inTree);
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}
