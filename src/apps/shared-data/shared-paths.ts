import { renameSync, type Stats, symlinkSync } from 'node:fs';
import { link, lstat, mkdir, realpath, rename, rm, symlink } from 'node:fs/promises';
import { dirname, extname, join, relative } from 'node:path';
import { AppError, hasCode, systemCode } from '../../errors/app-error.ts';
import { removeTree } from '../../system/fs/remove-tree.ts';

/**
 * Puts links into the shared directory where a release has paths that outlive releases. When a path is first shared,
 * what the live release has there moves there, else what this release brings along; what later ones bring gives way to
 * what is there.
 *
 * A path that nobody brings becomes an empty directory, unless its name has an extension, as in `data/shop.db`: then
 * the link points at nothing until the app creates the file, which works through a link (SQLite puts its journal
 * beside the file that the link leads to). A link that a release brings is no content: elsewhere it would lead elsewhere.
 * @param live the tree of the release that is live, if any; it keeps links to what is taken from it
 * @param mayMove waits, before something is taken from there, until nobody needs it to stay where it is
 * @returns the paths that were taken over from `live`
 * @throws AppError `invalid_settings` where a path leads through a file or a link
 */
export async function linkShared(
  tree: string,
  shared: string,
  paths: string[],
  live?: string,
  mayMove: () => Promise<Disposable> = async () => new DisposableStack(),
): Promise<string[]> {
  const adopted: string[] = [];
  for (const path of paths) {
    const isClear = (await makeParent(tree, path, 0o755)) && (await makeParent(shared, path, 0o700));
    if (!isClear) throw obstructed(path);
    if (live !== undefined && (await adopt(live, shared, path, mayMove))) adopted.push(path);
    await linkOne(join(tree, path), join(shared, path));
  }
  return adopted;
}

/** A path, and the names of what SQLite keeps beside it where it is a database. */
export function databaseWith(path: string): string[] {
  return [path, `${path}-wal`, `${path}-shm`, `${path}-journal`];
}

async function linkOne(inTree: string, inShared: string): Promise<void> {
  if ((await exists(inShared)) || (await isLink(inTree))) await removeTree(inTree);
  else if (await exists(inTree)) await rename(inTree, inShared);
  if (!(await exists(inShared)) && extname(inShared) === '') await mkdir(inShared);
  await symlink(linkTo(inShared, inTree), inTree);
}

/**
 * Moves what the live release has at `path`. It goes on writing while we do, also until the switch and, where the
 * deploy fails, after it: so both releases get the very same files, and nothing is copied.
 */
async function adopt(
  live: string,
  shared: string,
  path: string,
  mayMove: () => Promise<Disposable>,
): Promise<boolean> {
  const [inLive, inShared] = [join(live, path), join(shared, path)];
  if ((await exists(inShared)) || !(await liesInside(live, path))) return false;
  const stats = await look(inLive);
  if (!stats?.isFile() && !stats?.isDirectory()) return false;
  using _ = await mayMove();
  try {
    if (stats.isFile()) await adoptFile(inLive, inShared);
    else adoptDirectory(inLive, inShared);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EXDEV') throw error;
    throw new AppError('invalid_settings', `${path} cannot move to ${inShared}: that is on another disk`, {
      hint: `Copy it there from ${inLive} while the app is stopped, and deploy again.`,
      cause: error,
    });
  }
}

/** Never absent for the app, not even for an instant: there are two names, and then one becomes a link. */
async function adoptFile(inLive: string, inShared: string): Promise<void> {
  // Of a database in use both keep both names, since SQLite opens no `-shm` through a link. Never so `-journal`: the
  // name that SQLite did not remove at the end of a transaction would have it undone by whoever opens next.
  for (const end of ['-wal', '-shm']) {
    if ((await look(inLive + end))?.isFile()) await link(inLive + end, inShared + end).catch(unlessThere);
  }
  await link(inLive, inShared);
  const temporary = `${inLive}.sluice-link`;
  await rm(temporary, { force: true });
  await symlink(linkTo(inShared, inLive), temporary);
  await rename(temporary, inLive);
}

/** A directory can have neither two names nor be replaced by a link at once: without awaiting, the gap is microseconds. */
function adoptDirectory(inLive: string, inShared: string): void {
  renameSync(inLive, inShared);
  try {
    symlinkSync(linkTo(inShared, inLive), inLive);
  } catch (error) {
    // The app has made it anew in that gap; an empty one gives way.
    renameSync(inShared, inLive);
    throw error;
  }
}

/** Relative, so that the home can be moved; staging and releases lie equally deep. */
function linkTo(inShared: string, from: string): string {
  return relative(dirname(from), inShared);
}

/** @returns false where something else is in the way; through a link, what lies elsewhere would be replaced */
async function makeParent(root: string, path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(dirname(join(root, path)), { recursive: true, mode });
  } catch (error) {
    if (isObstacle(error)) return false;
    throw error;
  }
  return liesInside(root, path);
}

/** Not where the path leads through a link: what is there belongs to somebody else. */
async function liesInside(root: string, path: string): Promise<boolean> {
  try {
    return (await realpath(dirname(join(root, path)))) === join(await realpath(root), dirname(path));
  } catch (error) {
    if (isObstacle(error)) return false;
    throw error;
  }
}

function unlessThere(error: unknown): void {
  if (systemCode(error) !== 'EEXIST') throw error;
}

function isObstacle(error: unknown): boolean {
  return hasCode(error, 'EEXIST', 'ENOTDIR', 'ENOENT', 'ELOOP', 'EACCES');
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
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}
