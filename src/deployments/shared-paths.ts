import type { Stats } from 'node:fs';
import { lstat, mkdir, realpath, rename, rm, symlink } from 'node:fs/promises';
import { dirname, extname, join, relative } from 'node:path';
import { AppError, systemCode } from '../errors/app-error.ts';

/**
 * Puts links into the shared directory where a release has paths that outlive releases. What the first release with
 * such a path brings along moves there; what later ones bring gives way to what is there.
 *
 * A path that nobody brings becomes an empty directory, unless its name has an extension, as in `data/shop.db`: then
 * the link points at nothing until the app creates the file, which works through a link (SQLite puts its journal
 * beside the file that the link leads to). A link that a release brings is no content: elsewhere it would lead elsewhere.
 * @throws AppError `invalid_settings` where a path leads through a file or a link
 */
export async function linkShared(tree: string, shared: string, paths: string[]): Promise<void> {
  for (const path of paths) {
    const isClear = (await makeParent(tree, path, 0o755)) && (await makeParent(shared, path, 0o700));
    if (!isClear) throw obstructed(path);
    await linkOne(join(tree, path), join(shared, path));
  }
}

async function linkOne(inTree: string, inShared: string): Promise<void> {
  if ((await exists(inShared)) || (await isLink(inTree))) await rm(inTree, { recursive: true, force: true });
  else if (await exists(inTree)) await rename(inTree, inShared);
  if (!(await exists(inShared)) && extname(inShared) === '') await mkdir(inShared);
  // Relative, so that the home can be moved; staging and releases lie equally deep.
  await symlink(relative(dirname(inTree), inShared), inTree);
}

/** @returns false where something else is in the way; through a link, what lies elsewhere would be replaced */
async function makeParent(root: string, path: string, mode: number): Promise<boolean> {
  const parent = dirname(join(root, path));
  try {
    await mkdir(parent, { recursive: true, mode });
    return (await realpath(parent)) === join(await realpath(root), dirname(path));
  } catch (error) {
    if (['EEXIST', 'ENOTDIR', 'ENOENT', 'ELOOP'].includes(systemCode(error) ?? '')) return false;
    throw error;
  }
}

function obstructed(path: string): AppError {
  return new AppError('invalid_settings', `"shared" has ${path}, and what it should lie in is no directory`, {
    hint: 'Shared paths lie in directories of the release, not behind links or files.',
  });
}

async function exists(path: string): Promise<boolean> {
  return (await look(path)) !== undefined;
}

async function isLink(path: string): Promise<boolean> {
  return (await look(path))?.isSymbolicLink() ?? false;
}

async function look(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
