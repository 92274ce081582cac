import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, opendir, readlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { hasCode, systemCode } from '../errors/app-error.ts';
import { PinnedDirectory } from '../system/fs/pinned-directory.ts';
import { type Limits, usualLimits } from './limits.ts';

export type Found =
  | { kind: 'directory'; path: string; stats: Stats }
  | { kind: 'link'; path: string; stats: Stats; target: string }
  | { kind: 'file'; path: string; stats: Stats; handle: FileHandle }
  /** an entry that cannot be copied, with everything below it; `error` if the system refuses it */
  | { kind: 'unfit'; path: string; why: string; error?: unknown };

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** Directory on the way to the current one. */
interface Level {
  path: string;
  identity: string;
  /** names that are still to be visited, the last one first */
  names: string[];
  /** memory of the names, in bytes */
  memory: number;
}

/**
 * Yields the entries below a directory that other processes may change meanwhile: by name, and each directory before its
 * entries. Skips entries that are removed before their turn. The handle of a file is open until the next entry is requested.
 *
 * Follows no link, not even one that replaces a directory during the walk: an app could have root read a file for it, and
 * would find the content among its own files after a restore. Node.js has no openat(2), so paths go through
 * /proc/self/fd/N. An app may nest directories deeper than the stack or the descriptors of this process allow: the walk is a
 * loop, and has two directories open. It returns from a directory through `..`, and checks where it arrives.
 *
 * An app may make and move directories as fast as the walk visits them. So the walk visits no directory twice, and limits the
 * numbers of directories and entries.
 * @param longest limit of paths relative to `directory`, in bytes
 */
export async function* walk(
  directory: string,
  longest: number,
  limits: Pick<Limits, 'entries' | 'directories' | 'memory'> = usualLimits,
): AsyncGenerator<Found> {
  await using position = new Position();
  const visited = new Set<string>();
  const levels: [Level, ...Level[]] = [{ path: '', identity: '', names: [], memory: 0 }];
  /** Returns the reason why a directory must not be visited. */
  const refusal = (identity: string): string | undefined => {
    if (visited.has(identity)) return 'it was visited already, by another path';
    return visited.size < limits.directories ? undefined : `it comes after ${limits.directories} directories`;
  };
  /** Enters a directory, and yields an `unfit` if not all of its names fit into memory. */
  const enter = async function* (opened: Opened, level: Level): AsyncGenerator<Found> {
    visited.add(opened.identity);
    await position.enter(opened);
    // Even if a directory fills the memory, directories below it can be read.
    const least = limits.memory / 2048;
    const used = levels.reduce((sum, { memory }) => sum + memory, 0);
    if (await position.readNames(level, Math.max(limits.memory - used, least))) return;
    const why = `only ${level.names.length} names of this directory fit into memory`;
    yield { kind: 'unfit', path: level.path || '.', why };
  };
  try {
    const top = await position.open(directory);
    if (top === undefined) return;
    yield* enter(top, levels[0]);
  } catch (error) {
    yield unreadable('.', error);
  }
  for (let entries = 1; ; ) {
    const level = levels.at(-1) ?? levels[0];
    const name = level.names.pop();
    if (name === undefined) {
      if (levels.length === 1) return;
      levels.pop();
      yield* comeBack(position, levels);
      continue;
    }
    level.memory -= memoryOf(name);
    const path = level.path === '' ? name : `${level.path}/${name}`;
    if (entries > limits.entries) {
      yield { kind: 'unfit', path, why: `it and all that follow come after ${limits.entries} entries` };
      return;
    }
    entries += 1;
    let isDirectory = false;
    for await (const found of inspect(join(position.at, name), path, longest)) {
      const why = found.kind === 'directory' ? refusal(identityOf(found.stats)) : undefined;
      isDirectory = found.kind === 'directory' && why === undefined;
      yield why === undefined ? found : { kind: 'unfit', path, why };
    }
    if (!isDirectory) continue;
    try {
      const opened = await position.open(join(position.at, name));
      if (opened === undefined) continue;
      // Another directory may have replaced the one that was found.
      const why = refusal(opened.identity);
      if (why !== undefined) {
        await opened.handle.close();
        yield { kind: 'unfit', path, why };
        continue;
      }
      // Before `enter`, so that the walk also comes back if the names cannot be read.
      const below: Level = { path, identity: opened.identity, names: [], memory: 0 };
      levels.push(below);
      yield* enter(opened, below);
    } catch (error) {
      yield unreadable(path, error);
    }
  }
}

/** Identifies a directory. The system reuses numbers of removed directories, so the time of birth belongs to it. */
function identityOf({ dev, ino, birthtimeMs }: Stats): string {
  return `${dev}:${ino}:${birthtimeMs}`;
}

/** Estimates the memory of a name, in bytes. */
function memoryOf(name: string): number {
  const isAscii = Buffer.byteLength(name) === name.length;
  return (isAscii ? 1 : 2) * name.length + 32;
}

/** Yields one entry, a file with an open handle; nothing if the entry is gone. */
async function* inspect(at: string, path: string, longest: number): AsyncGenerator<Found> {
  const unfit = (why: string) => ({ kind: 'unfit' as const, path, why });
  if (path.includes('\uFFFD')) return yield unfit('its name is not UTF-8');
  if (Buffer.byteLength(path) > longest) return yield unfit(`its path is longer than ${longest} bytes`);
  let file: Awaited<ReturnType<typeof openWithoutLinks>>;
  try {
    const stats = await ifPresent(lstat(at));
    if (stats === undefined) return;
    if (stats.isDirectory()) return yield { kind: 'directory', path, stats };
    if (stats.isSymbolicLink()) {
      const target = await ifPresent(readlink(at));
      if (target !== undefined) yield { kind: 'link', path, stats, target };
      return;
    }
    if (!stats.isFile()) return yield unfit('it is not a regular file');
    file = await openWithoutLinks(at);
  } catch (error) {
    return yield unreadable(path, error);
  }
  if (file === undefined) return;
  await using _ = file.handle;
  yield { kind: 'file', path, ...file };
}

/** Returns to the last level, or if its directory was moved, to the last level that was not. */
async function* comeBack(position: Position, levels: [Level, ...Level[]]): AsyncGenerator<Found> {
  const level = levels.at(-1) ?? levels[0];
  if (levels.length === 1) return position.returnToTop();
  // Not by `join`, which would resolve the `..` of the text.
  if (await position.reach(`${position.at}/..`, level.identity)) return;
  await position.returnToTop();
  for (const [index, each] of levels.entries()) {
    if (index === 0 || (await position.reach(join(position.at, basename(each.path)), each.identity)))
      continue;
    for (const lost of levels.splice(index))
      if (lost.names.length > 0) yield { kind: 'unfit', path: lost.path, why: 'it was moved meanwhile' };
    return;
  }
}

/** Directory that has been opened. */
interface Opened {
  path: string;
  handle: FileHandle;
  identity: string;
}

/** Current directory of a walk, and its first one. */
class Position implements AsyncDisposable {
  #top: Opened | undefined;
  #current: Opened | undefined;

  /** Path of the current directory, even if the directory is moved. */
  get at(): string {
    const { path = '', handle } = this.#current ?? {};
    return process.platform === 'linux' ? `/proc/self/fd/${handle?.fd}` : path;
  }

  /** Reads names of the current directory into a level. @param most memory for them, in bytes @returns true for all names */
  async readNames(level: Level, most: number): Promise<boolean> {
    let isComplete = true;
    for await (const { name } of await opendir(this.at, { bufferSize: 512 })) {
      isComplete = level.memory + memoryOf(name) <= most;
      if (!isComplete) break;
      level.memory += memoryOf(name);
      level.names.push(name);
    }
    level.names.sort().reverse();
    return isComplete;
  }

  /** Opens a directory. @returns undefined if it is gone */
  async open(path: string): Promise<Opened | undefined> {
    const handle = await openAt(path, O_DIRECTORY);
    if (handle === undefined) return undefined;
    try {
      return { path, handle, identity: identityOf(await handle.stat()) };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async enter(directory: Opened): Promise<void> {
    await this.returnToTop();
    this.#top ??= directory;
    this.#current = directory;
  }

  /** Enters a directory if it is the expected one, and otherwise stays. @returns true if it is */
  async reach(path: string, expected: string): Promise<boolean> {
    try {
      const opened = await this.open(path);
      if (opened === undefined) return false;
      if (opened.identity === expected) await this.enter(opened);
      else await opened.handle.close();
      return opened.identity === expected;
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return false;
    }
  }

  async returnToTop(): Promise<void> {
    if (this.#current !== this.#top) await this.#current?.handle.close();
    this.#current = this.#top;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.returnToTop();
    await this.#top?.handle.close();
  }
}

function unreadable(path: string, error: unknown): Found {
  if (systemCode(error) === undefined) throw error;
  return { kind: 'unfit', path, why: `it cannot be read (${systemCode(error)})`, error };
}

/**
 * Calls `work` with a path of an entry below a directory that stays valid if directories between are replaced. None of them
 * may be a link, except for the directory itself.
 * @returns undefined if one of them is missing, or is not a directory
 */
export async function below<Result>(
  directory: string,
  path: string,
  work: (at: string) => Promise<Result>,
): Promise<Result | undefined> {
  const names = dirname(path).split('/');
  using root = pinned(() => PinnedDirectory.at(directory));
  using parent = names[0] === '.' ? undefined : pinned(() => root?.open(...(names as [string])));
  const at = names[0] === '.' ? root : parent;
  // Awaited: the directories are open until then.
  return at && (await work(join(at.path, basename(path))));
}

/** Opens a regular file, and no link. @returns undefined if there is none */
export async function openWithoutLinks(
  path: string,
): Promise<{ handle: FileHandle; stats: Stats } | undefined> {
  // Without O_NONBLOCK, a FIFO that replaces the file would block until a process writes into it.
  const handle = await openAt(path, O_NONBLOCK);
  if (handle === undefined) return undefined;
  await using stack = new AsyncDisposableStack();
  stack.use(handle);
  const stats = await handle.stat();
  if (!stats.isFile()) return undefined;
  stack.move();
  return { handle, stats };
}

function openAt(path: string, flags: number): Promise<FileHandle | undefined> {
  return ifPresent(open(path, O_RDONLY | O_NOFOLLOW | flags));
}

/** @returns undefined for an entry that is missing, or that has changed its type */
function ifPresent<T>(access: Promise<T>): Promise<T | undefined> {
  return access.catch(withoutEntry);
}

function pinned(open: () => PinnedDirectory | undefined): PinnedDirectory | undefined {
  try {
    return open();
  } catch (error) {
    return withoutEntry(error);
  }
}

function withoutEntry(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EINVAL')) throw error;
}
