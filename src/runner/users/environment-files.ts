import { lchownSync, lstatSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, systemCode } from '../../errors/app-error.ts';
import type { PinnedDirectory } from '../../system/fs/pinned-directory.ts';
import { signalProcess } from '../../system/process/processes.ts';
import { ownEnvironment, run } from '../../system/process/run.ts';
import { pidsOf } from '../jobs/marked.ts';
import { checkedEnvironment, type Identity, identityOptions } from './identity.ts';
import type { Users } from './users.ts';

/** A tree of a release, as the server names it. */
const treePattern = /^(?<place>staging|releases)\/(?<name>(?:\.removing-)?[1-9]\d{0,9})$/;
/** Directory in a release with the server's records, which the app must never own. */
const records = '.sluice';

/**
 * Owners of the files of environments, which only root can set. The server does the rest by itself, or as the app's user. See
 * docs/internals/users.md.
 */
export class EnvironmentFiles {
  readonly #users: Users;
  readonly #home: PinnedDirectory;
  readonly #forgotten: (key: string) => void;

  /** @param forgotten called when the runner has no files of an environment any more */
  constructor(users: Users, home: PinnedDirectory, forgotten: (key: string) => void) {
    this.#users = users;
    this.#home = home;
    this.#forgotten = forgotten;
  }

  /**
   * Makes the user of an environment, and gives each directory to its owner. The server has made the directories: nothing of
   * root is ever given to another user.
   */
  async prepare(key: string): Promise<void> {
    const user = await this.#users.ensure(key);
    const { owner } = this.#users;
    const readable = { uid: owner.uid, gid: user.gid };
    using directory = this.#open(key);
    directory.setOwner(readable, 0o750);
    for (const name of ['releases', 'staging']) {
      using inside = directory.open(name);
      this.#checkOwner(inside, name);
      inside.setOwner(readable, 0o750);
    }
    // The server may read shared data. No other user can enter the directory above.
    await this.#giveTo(user, directory, 'shared', 0o755);
    await this.#giveTo(user, directory, 'home', 0o700);
    await this.#giveTo(user, directory, 'tmp', 0o700);
    this.#makeLogs(directory);
  }

  /**
   * Gives a tree that the server has unpacked to the app's user, except our records. The root of the tree stays the server's,
   * and sticky: the app may add and remove everything in it but the records. No process of the app can reach the tree before,
   * so only the server could move files meanwhile, and `chown` follows no link.
   */
  async own(key: string, tree: string): Promise<void> {
    const { place = '', name = '' } = treePattern.exec(tree)?.groups ?? {};
    if (place === '') throw new AppError('user_refused', `${tree} is not a tree of a release`);
    const user = this.#users.of(key);
    const { owner } = this.#users;
    using directory = this.#open(key);
    using root = directory.open(place, name);
    this.#checkOwner(root, tree);
    if (root.stat().gid === user.gid) return;
    root.setOwner(owner, 0o700);
    await chownBelow(root, owner, user, records);
    root.setOwner({ uid: owner.uid, gid: user.gid }, 0o1770);
  }

  /**
   * Kills all processes of an environment's user, and removes its logs and the user.
   * @param aside the directory in the home to which the server has moved the app
   */
  async forget(key: string, aside: string): Promise<void> {
    const { app, environment } = checkedEnvironment(key);
    if (!aside.startsWith(`.removing-${app}-`) || !/^\d+$/.test(aside.slice(`.removing-${app}-`.length)))
      throw new AppError('user_refused', `${aside} is not an app that is being removed`);
    await this.endAll(key);
    this.#forgotten(key);
    try {
      using directory = this.#home.open(aside, environment);
      using logs = directory.open('logs');
      // A directory of root has no directories in it.
      if (logs.isOnlyRoots) {
        for (const name of readdirSync(logs.path)) rmSync(join(logs.path, name), { force: true });
        rmdirSync(join(directory.path, 'logs'));
      }
    } catch (error) {
      // An earlier call has removed them.
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    await this.#users.remove(key);
  }

  /** Kills all processes of an environment's user: an app that is removed could stop or kill what works as its user. */
  async endAll(key: string): Promise<void> {
    const user = this.#users.find(key);
    if (user !== undefined) await killAll(user);
  }

  /** Opens the directory of an environment. All users may pass through the directories above it. */
  #open(key: string): PinnedDirectory {
    const { app, environment } = checkedEnvironment(key);
    using apps = this.#home.open('apps');
    using ofApp = apps.open(app);
    for (const each of [apps, ofApp]) {
      this.#checkOwner(each, app);
      each.setOwner(this.#users.owner, 0o711);
    }
    const directory = ofApp.open(environment);
    this.#checkOwner(directory, key);
    return directory;
  }

  /** Checks that a directory belongs to the server: only then may the server give it to an app. */
  #checkOwner(directory: PinnedDirectory, what: string): void {
    const { uid } = directory.stat();
    const { owner } = this.#users;
    if (uid === owner.uid) return;
    throw new AppError('files_obstructed', `${what} belongs to uid ${uid}, and not to ${owner.name}`);
  }

  /** Gives a directory and its content to a user. The content comes from a home without users. */
  async #giveTo(user: Identity, parent: PinnedDirectory, name: string, mode: number): Promise<void> {
    using directory = parent.open(name);
    if (directory.stat().uid === user.uid) return;
    this.#checkOwner(directory, name);
    directory.setOwner(this.#users.owner, 0o700);
    await chownBelow(directory, this.#users.owner, user);
    directory.setOwner(user, mode);
  }

  /** Makes the directory that the runner writes and the server reads: new files get the server's group from the directory. */
  #makeLogs(parent: PinnedDirectory): void {
    const { owner } = this.#users;
    using logs = parent.ensure('logs', 0o700);
    const wasServers = logs.stat().uid !== 0;
    if (wasServers) this.#checkOwner(logs, 'logs');
    else if (!logs.isOnlyRoots)
      throw new AppError('files_obstructed', 'another directory of root is in the place of logs');
    logs.setOwner({ uid: 0, gid: owner.gid }, 0o2750);
    if (!wasServers) return;
    for (const name of readdirSync(logs.path)) {
      const path = join(logs.path, name);
      const stats = lstatSync(path);
      // The runner would write through a link.
      if (stats.isFile() && stats.nlink === 1) lchownSync(path, 0, owner.gid);
      else rmSync(path, { force: true });
    }
  }
}

/**
 * Gives all files below a directory of the server to a user, and links themselves. Can be repeated after an interruption. Leaves
 * files of root alone: the server can move them into a tree from directories that it may write.
 * @param except name right below the directory
 */
async function chownBelow(
  directory: PinnedDirectory,
  owner: Identity,
  user: Identity,
  except?: string,
): Promise<void> {
  const all = ['.', '-mindepth', '1', '-maxdepth', '1'];
  const others = except === undefined ? [] : ['!', '-name', except];
  const only = `--from=${owner.uid}`;
  const chown = ['/bin/chown', '--recursive', '-P', '--no-dereference', only, `${user.uid}:${user.gid}`];
  const options = { cwd: directory.path };
  await run('/usr/bin/find', [...all, ...others, '-exec', ...chown, '{}', '+'], options);
}

/** Number of attempts to kill the processes of a user, and limit of each attempt in ms. */
const killAttempts = 10;
const killWithin = 1000;

/**
 * Kills all processes of a user. The kernel signals all processes that a user may signal at once, if a process of that user asks
 * it to. The others may stop or kill the asking process, so this function then kills the processes that are left one by one.
 */
async function killAll(user: Identity): Promise<void> {
  for (let attempt = 0; attempt < killAttempts; attempt += 1) {
    const kill = run('/bin/sh', ['-c', 'kill -s KILL -- -1 2> /dev/null || :'], {
      ...identityOptions(user, ownEnvironment()),
      timeout: killWithin,
      killSignal: 'SIGKILL',
    });
    const [{ status }] = await Promise.allSettled([kill]);
    const left = await pidsOf(user);
    if (status === 'fulfilled' && left.length === 0) return;
    for (const pid of left) signalProcess(pid, 'SIGKILL');
  }
}
