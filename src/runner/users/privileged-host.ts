import { createHash } from 'node:crypto';
import { lchownSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { type Paths, parseEnvironmentName } from '../../config/paths.ts';
import { AppError, systemCode } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { PinnedDirectory } from '../../system/fs/pinned-directory.ts';
import { checkedEnvironment } from '../environment-key.ts';
import { moveAside } from '../make-way.ts';
import { EnvironmentFiles } from './environment-files.ts';
import type { Host } from './host.ts';
import type { Users } from './users.ts';

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
  readonly at = (directory: string): string => {
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

  settle(spec: GenerationSpec): GenerationSpec {
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
