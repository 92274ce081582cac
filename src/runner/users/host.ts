import { createHash, randomBytes } from 'node:crypto';
import { lchownSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { givesAppUsers } from '../../config/app-user.ts';
import type { Paths } from '../../config/paths.ts';
import { AppError, systemCode } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { PinnedDirectory } from '../../system/fs/pinned-directory.ts';
import { EnvironmentFiles } from './environment-files.ts';
import { checkedEnvironment } from './identity.ts';
import { Users } from './users.ts';

/** Rights of a runner: a privileged host is root and gives each app a system user; an unprivileged host runs all as itself. */
export interface Host {
  /** undefined if the host is unprivileged */
  users: Users | undefined;
  /** undefined if the host is unprivileged */
  files: EnvironmentFiles | undefined;
  lock: string;
  /** paths for this process alone: the directory of the runner's sockets, and in it those of FIFOs and of records */
  run: { directory: string; outputs: string; processes: string };
  /** Returns the path for a new socket of the runner, and clears the path. @param path one of `Paths` */
  socketPath(path: string): string;
  /** Returns a path of a directory of an environment that no other user can redirect. @throws AppError `files_obstructed` */
  readonly safeDirectory: (directory: string) => string;
  /** Returns a spec with the paths of its environment, whatever paths the server has sent. */
  withSafePaths(spec: GenerationSpec): GenerationSpec;
  giveToServer(socket: string): void;
}

/**
 * Opens the host of a home. It is privileged if this process is root and the home belongs to another user.
 * @param warn called for each path that another user had obstructed and that is clear now
 */
export function openHost(paths: Paths, warn: (message: string) => void): Host {
  const owner = statSync(paths.home, { throwIfNoEntry: false })?.uid ?? 0;
  if (givesAppUsers(owner))
    return new PrivilegedHost(paths, realpathSync(paths.home), new Users(paths, owner), warn);
  return {
    users: undefined,
    files: undefined,
    lock: paths.runnerLock,
    run: { directory: paths.run, outputs: paths.outputs, processes: paths.processes },
    socketPath: (path) => clearPath(path, warn),
    safeDirectory: (directory) => directory,
    withSafePaths: (spec) => spec,
    giveToServer: () => undefined,
  };
}

/**
 * Removes the file at the path of a new socket. The server may write there: a directory that the server has put there is
 * renamed, so that it cannot keep the runner from starting.
 * @returns the path
 */
export function clearPath(path: string, warn: (message: string) => void): string {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    if (systemCode(error) !== 'ERR_FS_EISDIR') throw error;
    moveAside(dirname(path), basename(path), warn);
  }
  return path;
}

/** Renames a file of any kind and any owner. No program uses the new name. */
function moveAside(directory: string, name: string, warn: (message: string) => void): void {
  const aside = `.${name}-${randomBytes(6).toString('hex')}`;
  renameSync(join(directory, name), join(directory, aside));
  warn(`another user's file was in the place of ${name}, and was renamed to ${aside}`);
}

/**
 * Host of a runner that is root. The home belongs to the server's user, who can replace any directory in it by a link. So the
 * runner opens each directory step by step, keeps it open, and writes only into files of root or new files.
 */
class PrivilegedHost implements Host {
  readonly users: Users;
  readonly files: EnvironmentFiles;
  readonly lock: string;
  readonly run: Host['run'];
  readonly #paths: Paths;
  readonly #home: PinnedDirectory;
  readonly #pins = new Map<string, PinnedDirectory>();
  readonly #warn: (message: string) => void;

  /** @param realHome path of the home without links */
  constructor(paths: Paths, realHome: string, users: Users, warn: (message: string) => void) {
    if (paths.run !== join(paths.home, 'run')) {
      throw new AppError('path_too_long', `${paths.home} is too long a path for the sockets in it`, {
        hint: 'Set SLUICE_HOME to a shorter path.',
      });
    }
    this.#paths = paths;
    this.#warn = warn;
    this.users = users;
    this.#home = PinnedDirectory.at(realHome);
    this.files = new EnvironmentFiles(users, this.#home, (key) => this.#closePins(key));
    this.lock = lockOf(realHome);
    this.run = this.#makeRun();
  }

  socketPath(path: string): string {
    return clearPath(join(this.run.directory, basename(path)), this.#warn);
  }

  /**
   * `apps/APP/ENVIRONMENT`, or `logs` in it. The directory stays open until the environment is forgotten, because the path may
   * be used at any time.
   */
  readonly safeDirectory = (directory: string): string => {
    const known = this.#pins.get(directory);
    const opened = this.#open(directory);
    if (known === undefined) {
      this.#pins.set(directory, opened);
      return opened.path;
    }
    using current = opened;
    if (current.stat().ino === known.stat().ino && current.stat().dev === known.stat().dev) return known.path;
    throw obstructed(directory, 'has been replaced by another directory');
  };

  withSafePaths(spec: GenerationSpec): GenerationSpec {
    const { logs, current, generation, cron } = this.#paths.environment(checkedEnvironment(spec.key));
    if (!Number.isSafeInteger(spec.release) || spec.release < 1)
      throw new AppError('bad_request', `invalid release number: ${spec.release}`);
    return { ...spec, log: { ...spec.log, directory: logs }, paths: { current, generation, cron } };
  }

  giveToServer(socket: string): void {
    const { uid, gid } = this.users.owner;
    lchownSync(socket, uid, gid);
  }

  #open(directory: string): PinnedDirectory {
    const names = relative(this.#paths.home, directory).split('/') as [string, ...string[]];
    const isLogs = names.length === 4 && names[3] === 'logs';
    if (names[0] !== 'apps' || !(names.length === 3 || isLogs))
      throw new AppError('internal', `${directory} is not the directory of an environment`);
    const found = this.#home.open(...names);
    const { uid } = found.stat();
    if (isLogs ? found.isOnlyRoots : uid === this.users.owner.uid) return found;
    found[Symbol.dispose]();
    throw obstructed(directory, uid === 0 ? 'is another directory of root' : `belongs to uid ${uid}`);
  }

  /** Closes the directories of an environment, when nothing writes there any more. */
  #closePins(key: string): void {
    const { directory, logs } = this.#paths.environment(checkedEnvironment(key));
    for (const path of [directory, logs]) {
      this.#pins.get(path)?.[Symbol.dispose]();
      this.#pins.delete(path);
    }
  }

  /**
   * Makes `run`, a directory of root. As in /tmp, the server may make its sockets in it, and remove only its own files. Apps may
   * pass through it, to the one socket for all users.
   */
  #makeRun(): Host['run'] {
    const { owner } = this.users;
    const { mode } = this.#home.stat();
    this.#home.setOwner(owner, (mode & 0o777) | 0o011);
    const run = this.#ensure(this.#home, 'run', 0o711);
    run.setOwner({ uid: 0, gid: owner.gid }, 0o1771);
    const inside = (path: string) => {
      // `run` may have belonged to the server before.
      const directory = this.#ensure(run, basename(path), 0o700, ({ isOnlyRoots }) => isOnlyRoots);
      directory.setOwner({ uid: 0, gid: 0 }, 0o700);
      return directory.path;
    };
    return {
      directory: run.path,
      outputs: inside(this.#paths.outputs),
      processes: inside(this.#paths.processes),
    };
  }

  /** Makes and opens a directory. Moves aside what another user has put there: it must not keep the runner from starting. */
  #ensure(
    parent: PinnedDirectory,
    name: string,
    mode: number,
    isSafe: (directory: PinnedDirectory) => boolean = () => true,
  ): PinnedDirectory {
    for (;;) {
      try {
        const directory = parent.ensure(name, mode);
        if (isSafe(directory)) return directory;
        directory[Symbol.dispose]();
      } catch (error) {
        if (!['ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) throw error;
      }
      moveAside(parent.path, name, this.#warn);
    }
  }
}

/**
 * Returns the path of the runner's lock. Only root may make files there: SQLite, which is the lock, follows links.
 * @param home path of the home without links
 */
export function lockOf(home: string): string {
  const hash = createHash('sha256').update(home).digest('hex').slice(0, 12);
  return `/run/sluice-runner-${hash}.lock`;
}

function obstructed(path: string, why: string): AppError {
  return new AppError('files_obstructed', `${path} ${why}, so Sluice does not use it`, {
    hint: 'Find out what has changed it. Then restart the runner: `systemctl restart sluice-runner`.',
  });
}
