import { execFile } from 'node:child_process';
import type { Stats } from 'node:fs';
import { lchown, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Paths, type Target, targetName } from '../config/paths.ts';
import { appUserName } from '../config/user-name.ts';
import type { Place } from './place.ts';

/** A user and a group, as the kernel has them. */
export interface Owner {
  uid: number;
  gid: number;
}

interface User extends Owner {
  name: string;
}

/**
 * Who owns what, by what they are: `owner` of the home, `app` for the system user of an app, `root`. Numbers are others on
 * another machine, and the user that Sluice runs as may have another name there.
 */
export class Owners {
  readonly home: User;
  readonly #paths: Paths;
  readonly #users: Map<string, User>;

  private constructor(paths: Paths, home: User, users: Map<string, User>) {
    this.#paths = paths;
    this.home = home;
    this.#users = users;
  }

  static async of(paths: Paths): Promise<Owners> {
    const { uid, gid } = await stat(paths.home);
    const users = await readUsers();
    const name = [...users.values()].find((user) => user.uid === uid)?.name ?? String(uid);
    return new Owners(paths, { name, uid, gid }, users);
  }

  /** Whether files of apps belong to users of their own here: where root runs them, and Sluice itself is not root. */
  get isolated(): boolean {
    return this.home.uid !== 0 && process.getuid?.() === 0;
  }

  roles({ uid, gid }: Pick<Stats, 'uid' | 'gid'>, target: Target | null): { owner: string; group: string } {
    const app = target === null ? undefined : this.#users.get(appUserName(this.home.name, target));
    const role = (id: number, ofApp: number | undefined, ofHome: number) =>
      id === ofHome ? 'owner' : id === ofApp ? 'app' : id === 0 ? 'root' : 'owner';
    return { owner: role(uid, app?.uid, this.home.uid), group: role(gid, app?.gid, this.home.gid) };
  }

  /** Gives what we have made as root to whom the home belongs. */
  async giveToHome(path: string): Promise<void> {
    if (this.isolated) await lchown(path, this.home.uid, this.home.gid);
  }

  /** The user of an app, made where there is none yet. */
  async ensureApp(target: Target): Promise<Owner> {
    const name = appUserName(this.home.name, target);
    const there = this.#users.get(name);
    if (there !== undefined) return there;
    const home = join(this.#paths.target(target).directory, 'home');
    const options = ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin'];
    const about = ['--home-dir', home, '--comment', `Sluice app ${targetName(target)}`];
    await promisify(execFile)('useradd', [...options, ...about, name], { env: { PATH: adminPath } });
    const made = (await readUsers()).get(name);
    if (made === undefined) throw new Error(`useradd has made no user ${name}`);
    this.#users.set(name, made);
    return made;
  }
}

/** To whom something belongs of which nothing else is said. @param isolated whether apps have users of their own there */
export function usualOwner({ isOfApp }: Place, isolated: boolean): 'app' | 'owner' {
  return isOfApp && isolated ? 'app' : 'owner';
}

const adminPath = '/usr/sbin:/usr/bin:/sbin:/bin';

async function readUsers(): Promise<Map<string, User>> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  return new Map(
    lines.map(([name = '', , uid, gid]) => [name, { name, uid: Number(uid), gid: Number(gid) }]),
  );
}
