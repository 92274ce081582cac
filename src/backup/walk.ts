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

/** Current directory, or one on the way to it. It stays open, so that the walk returns to it even if it was moved. */
interface Level {
  path: string;
  handle: FileHandle;
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
 * /proc/self/fd/N. An app may nest directories deeper than the stack allows, so the walk is a loop. The limit of paths also
 * limits the number of open directories.
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
  const visited = new Set<string>();
  const levels: Level[] = [];
  const pathAt = ({ handle, path }: Level) =>
    process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : join(directory, path);

  async function* inspect(at: string, path: string): AsyncGenerator<Found> {
    try {
      const stats = await ifPresent(lstat(at));
      if (stats?.isDirectory()) yield* enter(at, path);
      else if (stats?.isSymbolicLink()) {
        const target = await ifPresent(readlink(at));
        if (target !== undefined) yield { kind: 'link', path, stats, target };
      } else if (stats?.isFile()) {
        const file = await openWithoutLinks(at);
        await using _ = file?.handle;
        if (file !== undefined) yield { kind: 'file', path, ...file };
      } else if (stats !== undefined) yield { kind: 'unfit', path, why: 'it is not a regular file' };
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      yield { kind: 'unfit', path, why: `it cannot be read (${systemCode(error)})`, error };
    }
  }

  async function* enter(at: string, path: string): AsyncGenerator<Found> {
    const handle = await openAt(at, O_DIRECTORY);
    if (handle === undefined) return;
    const level: Level = { path, handle, names: [], memory: 0 };
    levels.push(level);
    const stats = await handle.stat();
    // The system reuses numbers of removed directories, so the time of birth is a part of the identity.
    const identity = `${stats.dev}:${stats.ino}:${stats.birthtimeMs}`;
    if (visited.has(identity))
      return yield { kind: 'unfit', path, why: 'it was visited already, by another path' };
    if (visited.size >= limits.directories)
      return yield { kind: 'unfit', path, why: `it comes after ${limits.directories} directories` };
    visited.add(identity);
    if (path !== '') yield { kind: 'directory', path, stats };
    // Even if a directory fills the memory, directories below it can be read.
    const used = levels.reduce((sum, { memory }) => sum + memory, 0);
    const most = Math.max(limits.memory - used, limits.memory / 2048);
    for await (const { name } of await opendir(pathAt(level), { bufferSize: 512 })) {
      if (level.memory + memoryOf(name) > most) {
        const why = `only ${level.names.length} names of this directory fit into memory`;
        yield { kind: 'unfit', path: path || '.', why };
        break;
      }
      level.memory += memoryOf(name);
      level.names.push(name);
    }
    level.names.sort().reverse();
  }

  try {
    yield* inspect(directory, '');
    let entries = 0;
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const name = level.names.pop();
      if (name === undefined) {
        levels.pop();
        await level.handle.close();
        continue;
      }
      level.memory -= memoryOf(name);
      const path = level.path === '' ? name : `${level.path}/${name}`;
      entries += 1;
      if (entries > limits.entries)
        return yield {
          kind: 'unfit',
          path,
          why: `it and all that follow come after ${limits.entries} entries`,
        };
      if (path.includes('\uFFFD')) yield { kind: 'unfit', path, why: 'its name is not UTF-8' };
      else if (Buffer.byteLength(path) > longest)
        yield { kind: 'unfit', path, why: `its path is longer than ${longest} bytes` };
      else yield* inspect(join(pathAt(level), name), path);
    }
  } finally {
    for (const { handle } of levels) await handle.close();
  }
}

/** Estimates the memory of a name, in bytes. */
function memoryOf(name: string): number {
  const isAscii = Buffer.byteLength(name) === name.length;
  return (isAscii ? 1 : 2) * name.length + 32;
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
  const [name = '', ...names] = dirname(path).split('/');
  if (name === '.') return work(join(directory, path));
  using root = PinnedDirectory.at(directory);
  using parent = await ifPresent(Promise.try(() => root.open(name, ...names)));
  // Awaited: the directory is open until then.
  return parent && (await work(join(parent.path, basename(path))));
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
async function ifPresent<T>(access: Promise<T>): Promise<T | undefined> {
  try {
    return await access;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EINVAL')) return undefined;
    throw error;
  }
}
