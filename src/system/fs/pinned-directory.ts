import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  mkdirSync,
  openSync,
  type Stats,
} from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../../errors/app-error.ts';

/**
 * Open directory, for work as root below a directory that another user may rename. The system resolves a path again in each call,
 * and a directory in the path may be a link by then. `path` always reaches the open directory (proc(5), /proc/PID/fd), also for
 * programs that this process starts as its own user.
 */
export class PinnedDirectory implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Opens a directory that no other user may rename, like all directories above it. Follows links. */
  static at(path: string): PinnedDirectory {
    return new PinnedDirectory(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /** Opens a directory below this one, step by step. No step may be a link. @throws a system error: ENOENT, ENOTDIR, ELOOP */
  open(...names: [string, ...string[]]): PinnedDirectory {
    let fd = this.#fd;
    try {
      for (const name of names) {
        const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
        const next = openSync(join(pathOf(fd), plain(name)), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd !== this.#fd) closeSync(fd);
        fd = next;
      }
    } catch (error) {
      if (fd !== this.#fd) closeSync(fd);
      throw error;
    }
    return new PinnedDirectory(fd);
  }

  /** Opens a directory directly below this one. Creates it if it does not exist. */
  ensure(name: string, mode: number): PinnedDirectory {
    try {
      mkdirSync(join(this.path, plain(name)), { mode });
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    return this.open(name);
  }

  get path(): string {
    return pathOf(this.#fd);
  }

  stat(): Stats {
    return fstatSync(this.#fd);
  }

  /**
   * Returns true if only root can write to the directory. To belong to root is not enough: if others can create files in the
   * directory, they may have put it in place of another one.
   */
  get isOnlyRoots(): boolean {
    const { uid, mode } = this.stat();
    return uid === 0 && (mode & 0o022) === 0;
  }

  /** Sets the owner and the mode of the directory. */
  setOwner({ uid, gid }: { uid: number; gid: number }, mode: number): void {
    const stats = this.stat();
    if ((stats.mode & 0o7777) !== mode) {
      // Only a member of the group can set the bit that gives new files the group of the directory. Its owner may change later.
      if ((mode & 0o2000) !== 0) fchownSync(this.#fd, stats.uid, process.getgid?.() ?? stats.gid);
      fchmodSync(this.#fd, mode);
    }
    const { uid: ownerNow, gid: groupNow } = this.stat();
    if (ownerNow !== uid || groupNow !== gid) fchownSync(this.#fd, uid, gid);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Returns a path for an open file. In a program that we start, /proc/self would be that program. */
function pathOf(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

function plain(name: string): string {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0'))
    throw new Error(`Invalid name: ${JSON.stringify(name)}`);
  return name;
}
