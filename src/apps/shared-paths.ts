import { renameSync, type Stats, symlinkSync } from 'node:fs';
import { link, lstat, mkdir, realpath, rename, rm, symlink } from 'node:fs/promises';
import { dirname, extname, join, relative } from 'node:path';
import { AppError, errorBody, hasCode, systemCode } from '../errors/app-error.ts';
import { removeTree } from '../system/fs/remove-tree.ts';

/**
 * Replaces shared paths in the tree of a release with links into the shared directory. When a path is first shared, the
 * files of the live release move there; if it has none, those of this release. Files that later releases contain at the path are
 * removed.
 *
 * A path that no release brings becomes an empty directory, unless its name has an extension, as in `data/shop.db`. The
 * app can create such a file through its link, and SQLite puts its journal beside the file that the link points to. A
 * link that a release brings is removed, because in another directory it would point elsewhere.
 * @param live the tree of the live release, if there is one; it gets links to the files that are taken from it
 * @param mayMove waits, before files are taken from there, until they may move
 * @returns the paths whose files were taken from `live`
 * @throws AppError `invalid_settings` if a path passes through a file or a link
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

/** Returns a path and the files that SQLite keeps beside it if it is a database. */
export function databaseFiles(path: string): string[] {
  return [path, `${path}-wal`, `${path}-shm`, `${path}-journal`];
}

async function linkOne(inTree: string, inShared: string): Promise<void> {
  if ((await exists(inShared)) || (await isLink(inTree))) await removeTree(inTree);
  else if (await exists(inTree)) await rename(inTree, inShared);
  if (!(await exists(inShared)) && extname(inShared) === '') await mkdir(inShared);
  await symlink(linkTo(inShared, inTree), inTree);
}

/**
 * Moves the files that the live release has at `path`. Copies nothing: the live release writes until the switch, or
 * longer if the deploy fails, so both releases need the same files.
 */
async function adopt(
  live: string,
  shared: string,
  path: string,
  mayMove: () => Promise<Disposable>,
): Promise<boolean> {
  const [inLive, inShared] = [join(live, path), join(shared, path)];
  if ((await exists(inShared)) || !(await liesInside(live, path))) return false;
  const stats = await statsOf(inLive);
  if (!stats?.isFile() && !stats?.isDirectory()) return false;
  using _ = await mayMove();
  try {
    if (stats.isFile()) await adoptFile(inLive, inShared);
    else adoptDirectory(inLive, inShared);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EXDEV') throw error;
    throw new AppError('invalid_settings', `${path} cannot move to ${inShared}, which is on another disk`, {
      hint: `Copy it there from ${inLive} while the app is stopped, and deploy again.`,
      cause: error,
    });
  }
}

/** Gives a file a second name, and then replaces the first name by a link, so that the app always finds the file. */
async function adoptFile(inLive: string, inShared: string): Promise<void> {
  // SQLite opens no `-shm` through a link, so these files of a database in use keep both names. A `-journal` must not:
  // SQLite removes one name at the end of a transaction, and the other name would make the next process undo it.
  for (const end of ['-wal', '-shm']) {
    if ((await statsOf(inLive + end))?.isFile()) await link(inLive + end, inShared + end).catch(unlessThere);
  }
  await link(inLive, inShared);
  const temporary = `${inLive}.sluice-link`;
  await rm(temporary, { force: true });
  await symlink(linkTo(inShared, inLive), temporary);
  await rename(temporary, inLive);
}

/** Moves a directory, which cannot have two names. Synchronous calls keep the time without a directory to microseconds. */
function adoptDirectory(inLive: string, inShared: string): void {
  renameSync(inLive, inShared);
  try {
    symlinkSync(linkTo(inShared, inLive), inLive);
  } catch (error) {
    // The app has created the directory again. The rename replaces it if it is empty.
    renameSync(inShared, inLive);
    throw error;
  }
}

/** Returns a relative link, so that the home can be moved. Directories in staging and releases are equally deep. */
function linkTo(inShared: string, from: string): string {
  return relative(dirname(from), inShared);
}

/** Returns false if a file is in the way, or a link: files outside the directory could be replaced. */
async function makeParent(root: string, path: string, mode: number): Promise<boolean> {
  const parent = dirname(join(root, path));
  const isMade = await unlessObstructed(mkdir(parent, { recursive: true, mode }).then(() => true));
  return isMade && liesInside(root, path);
}

/** Returns false if the path passes through a link: files there are not of this release. */
function liesInside(root: string, path: string): Promise<boolean> {
  const parents = Promise.all([realpath(dirname(join(root, path))), realpath(root)]);
  return unlessObstructed(parents.then(([parent, top]) => parent === join(top, dirname(path))));
}

/** Waits for a call; returns false if something is in its way. */
async function unlessObstructed(call: Promise<boolean>): Promise<boolean> {
  try {
    return await call;
  } catch (error) {
    if (hasCode(error, 'EEXIST', 'ENOTDIR', 'ENOENT', 'ELOOP', 'EACCES')) return false;
    throw error;
  }
}

function unlessThere(error: unknown): void {
  if (systemCode(error) !== 'EEXIST') throw error;
}

function obstructed(path: string): AppError {
  return new AppError('invalid_settings', `"shared" has ${path}, but its parent is not a directory`, {
    hint: 'Name paths in directories of the release. A shared path cannot pass through a link or a file.',
  });
}

async function exists(path: string): Promise<boolean> {
  return (await statsOf(path)) !== undefined;
}

async function isLink(path: string): Promise<boolean> {
  return (await statsOf(path))?.isSymbolicLink() ?? false;
}

async function statsOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** Arguments of this file as a program, as JSON. `linkShared` then runs as the user of an app. */
interface Arguments {
  tree: string;
  shared: string;
  paths: string[];
  live?: string;
}

/** Links shared paths, and returns the result or the error, to be printed as JSON. */
async function runProgram(given: string): Promise<object> {
  const { tree, shared, paths, live } = JSON.parse(given) as Arguments;
  try {
    return { adopted: await linkShared(tree, shared, paths, live) };
  } catch (error) {
    return { error: errorBody(error) };
  }
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await runProgram(process.argv[2] ?? ''))}\n`);
