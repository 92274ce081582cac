import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AppError, systemCode } from '../errors/app-error.ts';

export type Found =
  | { kind: 'directory'; path: string; stats: Stats }
  | { kind: 'link'; path: string; stats: Stats; target: string }
  | { kind: 'file'; path: string; stats: Stats; handle: FileHandle }
  /** a socket, a FIFO, a device; or a name that is not UTF-8, which no name of ours can stand for */
  | { kind: 'other'; path: string };

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/**
 * What is in a directory that others are changing, by name, each directory before what is in it. What is gone when its
 * turn comes is passed over. A file's handle is open until the next one is asked for.
 *
 * No link is followed, nor one that takes a directory's place while we are at it: an app could have root read what it
 * may not, and would find it in its own files after a restore. Node.js has no openat(2); a name below /proc/self/fd/N is
 * one.
 * @throws AppError `forbidden` where something may not be read
 */
export async function* walk(directory: string, below = ''): AsyncGenerator<Found> {
  const handle = await opened(directory, O_DIRECTORY);
  if (handle === undefined) return;
  try {
    const base = process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : directory;
    for (const name of (await readdir(base)).sort()) {
      yield* found(join(base, name), below === '' ? name : `${below}/${name}`);
    }
  } finally {
    await handle.close();
  }
}

async function* found(at: string, path: string): AsyncGenerator<Found> {
  if (path.includes('\uFFFD')) {
    yield { kind: 'other', path };
    return;
  }
  const stats = await present(lstat(at));
  if (stats === undefined) return;
  if (stats.isDirectory()) {
    yield { kind: 'directory', path, stats };
    yield* walk(at, path);
  } else if (stats.isSymbolicLink()) {
    const target = await present(readlink(at));
    if (target !== undefined) yield { kind: 'link', path, stats, target };
  } else if (stats.isFile()) {
    const file = await openFile(at);
    if (file === undefined) return;
    try {
      yield { kind: 'file', path, ...file };
    } finally {
      await file.handle.close();
    }
  } else yield { kind: 'other', path };
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
    const code = systemCode(error) ?? '';
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EINVAL'].includes(code)) return undefined;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new AppError('forbidden', (error as Error).message, {
      hint: 'Run it as root, or as the user that Sluice runs as: a backup without this file would not be whole.',
      cause: error,
    });
  }
}
