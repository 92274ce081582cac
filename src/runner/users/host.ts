import { createHash, randomBytes } from 'node:crypto';
import { lchownSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { givesAppUsers } from '../../config/app-user.ts';
import { type Paths, parseEnvironmentName } from '../../config/paths.ts';
import { AppError, systemCode } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { PinnedDirectory } from '../../system/fs/pinned-directory.ts';
import { EnvironmentFiles } from './environment-files.ts';
import { checkedEnvironment } from './identity.ts';
import { Users } from './users.ts';

/** What a runner stands on: where it writes, and who is who. It is another matter for one that is root. */
export interface Host {
  /** undefined where all runs as the one user that we are */
  users: Users | undefined;
  /** the same */
  files: EnvironmentFiles | undefined;
  lock: string;
  /** of our sockets, and in it of FIFOs and records: a path to be used by ourselves */
  run: { directory: string; outputs: string; processes: string };
  /** A directory of a target, by a path that nobody can make lead elsewhere. @throws where it is not as it must be */
  readonly safePath: (directory: string) => string;
  /** A spec with the paths that are those of its target, whatever whoever asks says. */
  withSafePaths(spec: GenerationSpec): GenerationSpec;
  /** Makes a socket of ours the server's. */
  giveToServer(path: string): void;
}

/**
 * A runner that is root, for a home that is not root's, has users. What deals with them is loaded only then.
 * @param warn told what was not as it must be, and was put right
 */
export async function openHost(paths: Paths, warn: (message: string) => void): Promise<Host> {
  const owner = statSync(paths.home, { throwIfNoEntry: false })?.uid ?? 0;
  if (!givesAppUsers(owner)) return unprivilegedHost(paths);
  return new PrivilegedHost(paths, realpathSync(paths.home), new Users(paths, owner), warn);
}

function unprivilegedHost(paths: Paths): Host {
  return {
    users: undefined,
    files: undefined,
    lock: paths.runnerLock,
    run: { directory: paths.run, outputs: paths.outputs, processes: paths.processes },
    safePath: (directory) => directory,
    withSafePaths: (spec) => spec,
    giveToServer: () => undefined,
  };
}

/**
 * Removes what is in the place of a socket that is to be made. The server may write where our sockets are: a directory that
 * it has put in the place of one must not keep us from starting.
 * @param warn told what was done about that
 */
export function clearPath(path: string, warn: (message: string) => void): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    if (systemCode(error) !== 'ERR_FS_EISDIR') throw error;
    warn(moveAside(dirname(path), basename(path)));
  }
}

/** It may be anything, and anybody's: nobody goes by its new name. @returns what to tell of it */
export function moveAside(directory: string, name: string): string {
  const aside = `.${name}-${randomBytes(6).toString('hex')}`;
  renameSync(join(directory, name), join(directory, aside));
  return `something of somebody else's was in the place of ${name}, and is now ${aside} beside it`;
}

/**
 * What a runner that is root stands on. The home belongs to the server's user, who may put a link wherever it likes in
 * it: so we walk to each directory that we write in, hold it open, and write only into what is root's, or a file that is
 * made anew.
 */
export class PrivilegedHost implements Host {
  readonly users: Users;
  readonly files: EnvironmentFiles;
  readonly lock: string;
  readonly run: Host['run'];
  readonly #paths: Paths;
  readonly #home: PinnedDirectory;
  readonly #pins = new Map<string, PinnedDirectory>();

  readonly #warn: (message: string) => void;

  /**
   * @param real the path of the home without links
   * @param warn told what the server had put where something of ours belongs
   */
  constructor(paths: Paths, real: string, users: Users, warn: (message: string) => void) {
    if (paths.run !== join(paths.home, 'run')) {
      throw new AppError('path_too_long', `${paths.home} is too long a path for the sockets in it`, {
        hint: 'Set SLUICE_HOME to a shorter path.',
      });
    }
    this.#paths = paths;
    this.#warn = warn;
    this.users = users;
    this.#home = PinnedDirectory.at(real);
    this.files = new EnvironmentFiles(users, this.#home, (key) => this.#drop(key));
    this.lock = lockOf(real);
    this.run = this.#makeRun();
  }

  /**
   * `apps/APP/ENVIRONMENT`, or `logs` in it. Held open for good, or until the target is forgotten: who has been given the
   * path may use it at any time.
   */
  readonly safePath = (directory: string): string => {
    const held = this.#pins.get(directory);
    const fresh = this.#walk(directory);
    if (held === undefined) {
      this.#pins.set(directory, fresh);
      return fresh.path;
    }
    using found = fresh;
    if (found.stat().ino === held.stat().ino && found.stat().dev === held.stat().dev) return held.path;
    throw obstructed(directory, 'is another directory than it was');
  };

  withSafePaths(spec: GenerationSpec): GenerationSpec {
    const { logs, current, generation, cron } = this.#paths.environment(checkedEnvironment(spec.key));
    if (!Number.isSafeInteger(spec.release) || spec.release < 1)
      throw new AppError('user_refused', `${spec.release} is the number of no release`);
    return { ...spec, log: { ...spec.log, directory: logs }, paths: { current, generation, cron } };
  }

  giveToServer(path: string): void {
    const { uid, gid } = this.users.owner;
    lchownSync(path, uid, gid);
  }

  #walk(directory: string): PinnedDirectory {
    const names = relative(this.#paths.home, directory).split('/') as [string, ...string[]];
    const isLogs = names.length === 4 && names[3] === 'logs';
    if (names[0] !== 'apps' || !(names.length === 3 || isLogs))
      throw new AppError('internal', `nothing of ours is in ${directory}`);
    const found = this.#home.open(...names);
    const { uid } = found.stat();
    if (isLogs ? found.isOnlyRoots : uid === this.users.owner.uid) return found;
    found[Symbol.dispose]();
    throw obstructed(directory, uid === 0 ? 'is another directory of ours' : `belongs to uid ${uid}`);
  }

  /** To be called when nothing writes there any more. */
  #drop(key: string): void {
    const target = parseEnvironmentName(key);
    if (target === undefined) return;
    const { directory, logs } = this.#paths.environment(target);
    for (const path of [directory, logs]) {
      this.#pins.get(path)?.[Symbol.dispose]();
      this.#pins.delete(path);
    }
  }

  /**
   * `run` is ours: the server may make its sockets in it and, as in /tmp, take away nothing that is not its own. Apps may
   * go through it, to the one socket that is for all.
   */
  #makeRun(): Host['run'] {
    const { owner } = this.users;
    const { mode } = this.#home.stat();
    this.#home.become(owner, (mode & 0o777) | 0o011);
    const root = { uid: 0, gid: 0 };
    const run = this.#ensure(this.#home, 'run', 0o711);
    run.become({ uid: 0, gid: owner.gid }, 0o1771);
    const inside = (path: string) => {
      // `run` may have been the server's before.
      const directory = this.#ensure(run, basename(path), 0o700, ({ isOnlyRoots }) => isOnlyRoots);
      directory.become(root, 0o700);
      return directory.path;
    };
    return {
      directory: run.path,
      outputs: inside(this.#paths.outputs),
      processes: inside(this.#paths.processes),
    };
  }

  /** What somebody else has put there instead is moved aside: it must not keep us from starting. */
  #ensure(
    parent: PinnedDirectory,
    name: string,
    mode: number,
    isOurs: (directory: PinnedDirectory) => boolean = () => true,
  ): PinnedDirectory {
    for (;;) {
      try {
        const directory = parent.ensure(name, mode);
        if (isOurs(directory)) return directory;
        directory[Symbol.dispose]();
      } catch (error) {
        if (!['ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) throw error;
      }
      this.#warn(moveAside(parent.path, name));
    }
  }
}

/** Where only root may put a file: SQLite, which is our lock, follows links. @param home its path without links */
export function lockOf(home: string): string {
  const hash = createHash('sha256').update(home).digest('hex').slice(0, 12);
  return `/run/sluice-runner-${hash}.lock`;
}

function obstructed(path: string, why: string): AppError {
  return new AppError('files_obstructed', `${path} ${why}, and is not touched`, {
    hint: 'See what has changed it. A restart of the runner (`systemctl restart sluice-runner`) looks anew.',
  });
}
