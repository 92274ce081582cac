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
 * A directory that is held open, for those who work as root below what somebody else may rename: a path is looked up
 * anew with each call, and a directory in it may have become a link by then. `path` leads to this very directory,
 * whatever becomes of its name (proc(5), /proc/PID/fd), for us and for what we start as ourselves.
 */
export class PinnedDirectory implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** One that nobody else may rename, nor anything above it; links in the path are followed. */
  static at(path: string): PinnedDirectory {
    return new PinnedDirectory(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /** One below it, step by step; none of the steps may be a link. @throws a system error: ENOENT, ENOTDIR, ELOOP */
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

  /** One right below it, made where it is not there. */
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
   * Whether it is root's, and was nobody else's to write into: that it belongs to root is not enough. A directory of root's
   * in which others may make files can be moved by them, too, and stand where another is looked for.
   */
  get isOnlyRoots(): boolean {
    const { uid, mode } = this.stat();
    return uid === 0 && (mode & 0o022) === 0;
  }

  /** Gives it an owner, and a mode, as far as it has others. */
  become({ uid, gid }: { uid: number; gid: number }, mode: number): void {
    const stats = this.stat();
    if ((stats.mode & 0o7777) !== mode) {
      // The bit that has new files get the group of the directory can be set by who has that group; it stays then.
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

/** Not by /proc/self: what we start has a self of its own. */
function pathOf(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

function plain(name: string): string {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0'))
    throw new Error(`${JSON.stringify(name)} is no name`);
  return name;
}
