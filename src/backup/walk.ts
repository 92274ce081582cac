import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, opendir, readlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { hasCode, systemCode } from '../errors/app-error.ts';
import { type Limits, usualLimits } from './limits.ts';

export type Found =
  | { kind: 'directory'; path: string; stats: Stats }
  | { kind: 'link'; path: string; stats: Stats; target: string }
  | { kind: 'file'; path: string; stats: Stats; handle: FileHandle }
  /** an entry that cannot be copied, with everything below it; `error` if the system refuses it */
  | { kind: 'unfit'; path: string; why: string; error?: unknown };

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** A directory on the way to the current one. */
interface Level {
  path: string;
  identity: string;
  /** names that are still to be visited, the last one first */
  names: string[];
  /** memory that the names take, in bytes */
  memory: number;
}

/**
 * Yields the entries below a directory that other processes may change meanwhile: by name, and each directory before its
 * entries. Skips entries that are gone when their turn comes. The handle of a file is open until the next entry is asked for.
 *
 * Follows no link, not even one that replaces a directory during the walk: an app could have root read a file for it, and
 * would find the content among its own files after a restore. Node.js has no openat(2), so paths go through
 * /proc/self/fd/N. An app may nest directories deeper than the stack or the descriptors of this process allow: the walk is a
 * loop, and holds two directories open. It returns from a directory through `..`, and checks where it arrives.
 *
 * An app may make and move directories as fast as the walk visits them. So the walk visits no directory twice, and limits the
 * numbers of directories and entries.
 * @param longest limit for paths relative to `directory`, in bytes
 */
export async function* walk(
  directory: string,
  longest: number,
  limits: Pick<Limits, 'entries' | 'directories' | 'memory'> = usualLimits,
): AsyncGenerator<Found> {
  await using place = new Place();
  const visited = new Set<string>();
  const levels: [Level, ...Level[]] = [{ path: '', identity: '', names: [], memory: 0 }];
  /** Returns why a directory is not to be visited. */
  const refusal = (identity: string): string | undefined => {
    if (visited.has(identity)) return 'it was visited already, by another path';
    return visited.size < limits.directories ? undefined : `it comes after ${limits.directories} directories`;
  };
  /** Enters a directory, and yields an `unfit` if not all of its names fit into memory. */
  const enter = async function* (opened: Opened, level: Level): AsyncGenerator<Found> {
    visited.add(opened.identity);
    await place.enter(opened);
    // Even if a directory fills the memory, directories below it can be read.
    const least = limits.memory / 2048;
    const taken = levels.reduce((sum, { memory }) => sum + memory, 0);
    const isWhole = await place.readNames(level, Math.max(limits.memory - taken, least));
    if (isWhole) return;
    const why = `only ${level.names.length} names of this directory fit into memory`;
    yield { kind: 'unfit', path: level.path || '.', why };
  };
  try {
    const top = await place.open(directory);
    if (top === undefined) return;
    yield* enter(top, levels[0]);
  } catch (error) {
    yield refused('.', error);
  }
  for (let entries = 1; ; ) {
    const level = levels.at(-1) ?? levels[0];
    const name = level.names.pop();
    if (name === undefined) {
      if (levels.length === 1) return;
      levels.pop();
      yield* comeBack(place, levels);
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
    for await (const found of look(join(place.at, name), path, longest)) {
      const why = found.kind === 'directory' ? refusal(identityOf(found.stats)) : undefined;
      isDirectory = found.kind === 'directory' && why === undefined;
      yield why === undefined ? found : { kind: 'unfit', path, why };
    }
    if (!isDirectory) continue;
    try {
      const opened = await place.open(join(place.at, name));
      if (opened === undefined) continue;
      // Another directory may have taken its place meanwhile.
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
      yield refused(path, error);
    }
  }
}

/** Identifies a directory. Numbers of removed directories are used again, so the time of birth belongs to it. */
function identityOf({ dev, ino, birthtimeMs }: Stats): string {
  return `${dev}:${ino}:${birthtimeMs}`;
}

/** Returns about how much memory a name takes, in bytes. */
function memoryOf(name: string): number {
  const isAscii = Buffer.byteLength(name) === name.length;
  return (isAscii ? 1 : 2) * name.length + 32;
}

/** Yields one entry: nothing if it is gone, and a file with an open handle. */
async function* look(at: string, path: string, longest: number): AsyncGenerator<Found> {
  if (path.includes('\uFFFD')) yield { kind: 'unfit', path, why: 'its name is not UTF-8' };
  else if (Buffer.byteLength(path) > longest)
    yield { kind: 'unfit', path, why: `its path is longer than ${longest} bytes` };
  else {
    let file: Awaited<ReturnType<typeof openFile>>;
    try {
      const stats = await present(lstat(at));
      if (stats === undefined) return;
      if (stats.isDirectory()) return yield { kind: 'directory', path, stats };
      if (stats.isSymbolicLink()) {
        const target = await present(readlink(at));
        if (target !== undefined) yield { kind: 'link', path, stats, target };
        return;
      }
      if (!stats.isFile()) return yield { kind: 'unfit', path, why: 'it is no file' };
      file = await openFile(at);
    } catch (error) {
      return yield refused(path, error);
    }
    if (file === undefined) return;
    try {
      yield { kind: 'file', path, ...file };
    } finally {
      await file.handle.close();
    }
  }
}

/** Returns to the last level. If the directory was moved meanwhile, returns to the last level that is still in its place. */
async function* comeBack(place: Place, levels: [Level, ...Level[]]): AsyncGenerator<Found> {
  const level = levels.at(-1) ?? levels[0];
  if (levels.length === 1) return place.returnToTop();
  // Not by `join`, which would resolve the `..` of the text.
  if (await place.reach(`${place.at}/..`, level.identity)) return;
  await place.returnToTop();
  for (const [index, each] of levels.entries()) {
    if (index === 0 || (await place.reach(join(place.at, basename(each.path)), each.identity))) continue;
    for (const lost of levels.splice(index))
      if (lost.names.length > 0) yield { kind: 'unfit', path: lost.path, why: 'it was moved meanwhile' };
    return;
  }
}

/** A directory that has been opened. */
interface Opened {
  path: string;
  handle: FileHandle;
  identity: string;
}

/** The directory in which a walk is, and the one in which it began. */
class Place implements AsyncDisposable {
  #top: FileHandle | undefined;
  #current: FileHandle | undefined;
  #path = '';
  #topPath = '';

  /** Path of the current directory, even if the directory is moved. */
  get at(): string {
    return process.platform === 'linux' ? `/proc/self/fd/${this.#current?.fd}` : this.#path;
  }

  /** Reads names of the current directory into a level. @param most memory for them, in bytes @returns whether it has all */
  async readNames(level: Level, most: number): Promise<boolean> {
    let isWhole = true;
    for await (const { name } of await opendir(this.at, { bufferSize: 512 })) {
      isWhole = level.memory + memoryOf(name) <= most;
      if (!isWhole) break;
      level.memory += memoryOf(name);
      level.names.push(name);
    }
    level.names.sort().reverse();
    return isWhole;
  }

  /** Opens a directory. @returns undefined if it is gone */
  async open(path: string): Promise<Opened | undefined> {
    const handle = await opened(path, O_DIRECTORY);
    if (handle === undefined) return undefined;
    try {
      return { path, handle, identity: identityOf(await handle.stat()) };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async enter({ path, handle }: Opened): Promise<void> {
    if (this.#current !== this.#top) await this.#current?.close();
    if (this.#top === undefined) [this.#top, this.#topPath] = [handle, path];
    [this.#current, this.#path] = [handle, path];
  }

  /** Enters a directory if it is the expected one, and otherwise stays. @returns whether it is */
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
    if (this.#current !== this.#top) await this.#current?.close();
    [this.#current, this.#path] = [this.#top, this.#topPath];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.returnToTop();
    await this.#top?.close();
  }
}

function refused(path: string, error: unknown): Found {
  if (systemCode(error) === undefined) throw error;
  return { kind: 'unfit', path, why: `it cannot be read (${systemCode(error)})`, error };
}

/**
 * Works with what is at `path` below a directory, by a name that leads to nothing else whatever becomes of the
 * directories between, none of which may be a link. The directory itself may be one.
 * @returns undefined where one of them is not there, or is no directory
 */
export async function below<Result>(
  directory: string,
  path: string,
  work: (at: string) => Promise<Result>,
): Promise<Result | undefined> {
  await using held = new AsyncDisposableStack();
  const hold = async (at: string, flags: number): Promise<string | undefined> => {
    const handle = await present(open(at, O_RDONLY | O_DIRECTORY | flags));
    return handle && `/proc/self/fd/${held.use(handle).fd}`;
  };
  let at = await hold(directory, 0);
  for (const name of dirname(path).split('/')) {
    if (at === undefined) return undefined;
    if (name !== '.') at = await hold(join(at, name), O_NOFOLLOW);
  }
  // Awaited: until then the directories are held open.
  return at === undefined ? undefined : await work(join(at, basename(path)));
}

/** A file, if that is what is there; undefined where there is none. */
export async function openFile(path: string): Promise<{ handle: FileHandle; stats: Stats } | undefined> {
  // What has become a FIFO meanwhile must not keep us waiting for somebody who writes into it.
  const handle = await opened(path, O_NONBLOCK);
  if (handle === undefined) return undefined;
  try {
    const stats = await handle.stat();
    if (stats.isFile()) return { handle, stats };
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  return undefined;
}

function opened(path: string, flags: number): Promise<FileHandle | undefined> {
  return present(open(path, O_RDONLY | O_NOFOLLOW | flags));
}

/** Undefined for what is not there, or not any more what it was. */
async function present<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EINVAL')) return undefined;
    throw error;
  }
}
