import { once } from 'node:events';
import { lchownSync, lstatSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, systemCode } from '../../errors/app-error.ts';
import type { PinnedDirectory } from '../../system/fs/pinned-directory.ts';
import { signalProcess } from '../../system/process/processes.ts';
import { ownEnvironment, run, spawn } from '../../system/process/run.ts';
import { pidsOf } from '../jobs/leftovers.ts';
import { asUser, checkedEnvironment, type Identity } from './identity.ts';
import type { Users } from './users.ts';

/** A tree of a release, as the server names it. */
const treePattern = /^(?<place>staging|releases)\/(?<name>(?:\.removing-)?[1-9]\d{0,9})$/;
/** The server's records in it: never the app's. */
const records = '.sluice';

/**
 * Whose the files of a target are: what only root can settle. The server does all the rest by itself, or lets the app's
 * user do it. See "Users and files" in docs/architecture.md.
 */
export class EnvironmentFiles {
  readonly #users: Users;
  readonly #home: PinnedDirectory;
  readonly #forgotten: (key: string) => void;

  /** @param forgotten told when nothing of a target is ours any more */
  constructor(users: Users, home: PinnedDirectory, forgotten: (key: string) => void) {
    this.#users = users;
    this.#home = home;
    this.#forgotten = forgotten;
  }

  /**
   * Makes its user, where it is not there, and gives each directory to whom it belongs. The server has made them: nothing
   * that is root's is ever given away.
   */
  async prepare(key: string): Promise<void> {
    const user = await this.#users.ensure(key);
    const { owner } = this.#users;
    const between = { uid: owner.uid, gid: user.gid };
    using directory = this.#open(key, (each) => each.become(owner, 0o711));
    directory.become(between, 0o750);
    for (const name of ['releases', 'staging']) {
      using place = directory.open(name);
      this.#assertServers(place, name);
      place.become(between, 0o750);
    }
    // The server may look into what is shared; nobody else gets as far as here.
    await this.#giveTo(user, directory, 'shared', 0o755);
    await this.#giveTo(user, directory, 'home', 0o700);
    await this.#giveTo(user, directory, 'tmp', 0o700);
    this.#makeLogs(directory);
  }

  /**
   * Hands a tree that the server has unpacked over to the app: all in it is the app's from now on, but for our records.
   * Its root stays the server's, and sticky: the app makes and removes what it likes in it, and never the records. Nothing
   * of the app can be in it before that, so nobody moves it about meanwhile but the server; and `chown` follows no link.
   */
  async own(key: string, tree: string): Promise<void> {
    const { place = '', name = '' } = treePattern.exec(tree)?.groups ?? {};
    if (place === '') throw new AppError('user_refused', `${tree} is no tree of a release`);
    const user = this.#users.of(key);
    const { owner } = this.#users;
    using directory = this.#open(key);
    using root = directory.open(place, name);
    this.#assertServers(root, tree);
    if (root.stat().gid === user.gid) return;
    root.become(owner, 0o700);
    await chownBelow(root, owner, user, records);
    root.become({ uid: owner.uid, gid: user.gid }, 0o1770);
  }

  /**
   * Ends whatever runs as a target's user, removes its logs, which are ours, and the user.
   * @param aside the directory in the home to which the server has moved the app
   */
  async forget(key: string, aside: string): Promise<void> {
    const { app, environment } = checkedEnvironment(key);
    if (!aside.startsWith(`.removing-${app}-`) || !/^\d+$/.test(aside.slice(`.removing-${app}-`.length)))
      throw new AppError('user_refused', `${aside} is no app that is being removed`);
    await this.endAll(key);
    this.#forgotten(key);
    try {
      using directory = this.#home.open(aside, environment);
      removeLogs(directory);
    } catch (error) {
      // It was all done before, and we were asked again.
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    await this.#users.remove(key);
  }

  /** Whatever is left of it: an app that is to be removed could stop or kill what works as its user. */
  async endAll(key: string): Promise<void> {
    const user = this.#users.find(key);
    if (user !== undefined) await endAll(user);
  }

  #open(key: string, visit: (directory: PinnedDirectory) => void = () => undefined): PinnedDirectory {
    const { app, environment } = checkedEnvironment(key);
    using apps = this.#home.open('apps');
    using ofApp = apps.open(app);
    for (const each of [apps, ofApp]) {
      this.#assertServers(each, app);
      visit(each);
    }
    const directory = ofApp.open(environment);
    this.#assertServers(directory, key);
    return directory;
  }

  /** What is the server's already can be given to an app: anything else is not its to give. */
  #assertServers(directory: PinnedDirectory, what: string): void {
    const { uid } = directory.stat();
    if (uid === this.#users.owner.uid) return;
    throw new AppError(
      'files_obstructed',
      `${what} belongs to uid ${uid}, and not to ${this.#users.owner.name}`,
    );
  }

  /** With what is in it, which comes from a home without users. */
  async #giveTo(user: Identity, parent: PinnedDirectory, name: string, mode: number): Promise<void> {
    using directory = parent.open(name);
    if (directory.stat().uid === user.uid) return;
    this.#assertServers(directory, name);
    directory.become(this.#users.owner, 0o700);
    await chownBelow(directory, this.#users.owner, user);
    directory.become(user, mode);
  }

  /** Written by us, read by the server, whose group new files get from the directory. */
  #makeLogs(parent: PinnedDirectory): void {
    const { owner } = this.#users;
    using logs = parent.ensure('logs', 0o700);
    const wasServers = logs.stat().uid !== 0;
    if (wasServers) this.#assertServers(logs, 'logs');
    else if (!logs.isOnlyRoots)
      throw new AppError('files_obstructed', 'another directory of ours is in the place of logs');
    logs.become({ uid: 0, gid: owner.gid }, 0o2750);
    if (!wasServers) return;
    for (const name of readdirSync(logs.path)) {
      const path = join(logs.path, name);
      const stats = lstatSync(path);
      // A link would be written through: no log of ours is one.
      if (stats.isFile() && stats.nlink === 1) lchownSync(path, 0, owner.gid);
      else rmSync(path, { force: true });
    }
  }
}

/**
 * All below a directory that is the server's, links themselves; it goes on where it was interrupted. Nothing of root's is
 * given away: the server can move into a tree what of ours lies in directories that it may write into.
 * @param except a name right below it
 */
async function chownBelow(
  directory: PinnedDirectory,
  owner: Identity,
  user: Identity,
  except?: string,
): Promise<void> {
  const all = [
    '.',
    '-mindepth',
    '1',
    '-maxdepth',
    '1',
    ...(except === undefined ? [] : ['!', '-name', except]),
  ];
  const only = `--from=${owner.uid}`;
  const chown = ['/bin/chown', '--recursive', '-P', '--no-dereference', only, `${user.uid}:${user.gid}`];
  const child = spawn('/usr/bin/find', [...all, '-exec', ...chown, '{}', '+'], {
    cwd: directory.path,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(0, 1000);
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`chown ended with ${code}: ${said}`);
}

/** How often it is tried to end what runs as a user, and how long each time may take, in ms. */
const endTries = 10;
const endWithin = 1000;

/**
 * The kernel sends it to all that this user may signal, which is all of its own, at once. What asks it to is the user's,
 * too, and may be stopped or killed by what it is to end: so after that, all that is still there is killed by us.
 */
async function endAll(user: Identity): Promise<void> {
  for (let tries = 0; tries < endTries; tries += 1) {
    const kill = run('/bin/sh', ['-c', 'kill -s KILL -- -1 2> /dev/null || :'], {
      ...asUser(user, ownEnvironment()),
      timeout: endWithin,
      killSignal: 'SIGKILL',
    });
    const [{ status }] = await Promise.allSettled([kill]);
    const left = await pidsOf(user);
    if (status === 'fulfilled' && left.length === 0) return;
    for (const pid of left) signalProcess(Number(pid), 'SIGKILL');
  }
}

/** A directory of ours has nothing in it but files of ours. */
function removeLogs(parent: PinnedDirectory): void {
  try {
    using logs = parent.open('logs');
    if (!logs.isOnlyRoots) return;
    for (const name of readdirSync(logs.path)) rmSync(join(logs.path, name), { force: true });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  rmdirSync(join(parent.path, 'logs'));
}
