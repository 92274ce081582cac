import type { Stats } from 'node:fs';
import { lchown, stat } from 'node:fs/promises';
import { addAppUser, findAppUser, givesAppUsers, type HomeOwner } from '../config/app-user.ts';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { findUser } from '../system/process/user.ts';
import type { Place } from './place.ts';

/** A user and a group, as the kernel has them. */
export interface Owner {
  uid: number;
  gid: number;
}

/**
 * Who owns what, by what they are: `owner` of the home, `app` for the system user of an app, `root`. Numbers are others on
 * another machine, and the user that Sluice runs as may have another name there.
 */
export class Owners {
  readonly home: HomeOwner;
  readonly #paths: Paths;
  /** by target; looked up once, since each file is asked about */
  readonly #apps = new Map<string, Owner | undefined>();

  private constructor(paths: Paths, home: HomeOwner) {
    this.#paths = paths;
    this.home = home;
  }

  static async of(paths: Paths): Promise<Owners> {
    const { uid, gid } = await stat(paths.home);
    const name = findUser((each) => each.uid === uid)?.name ?? String(uid);
    return new Owners(paths, { name, uid, gid });
  }

  /** Whether files of apps belong to users of their own here: where root runs them, and Sluice itself is not root. */
  get isolated(): boolean {
    return givesAppUsers(this.home.uid);
  }

  roles(
    { uid, gid }: Pick<Stats, 'uid' | 'gid'>,
    target: EnvironmentId | null,
  ): { owner: string; group: string } {
    const app = target === null ? undefined : this.#app(target);
    const role = (id: number, ofApp: number | undefined, ofHome: number) =>
      id === ofHome ? 'owner' : id === ofApp ? 'app' : id === 0 ? 'root' : 'owner';
    return { owner: role(uid, app?.uid, this.home.uid), group: role(gid, app?.gid, this.home.gid) };
  }

  /** As whom a program may read a file: as its owner, where that is the app or whom the home belongs to. */
  whose({ uid }: Pick<Stats, 'uid'>, target: EnvironmentId | null): Owner | undefined {
    if (!this.isolated || uid === this.home.uid) return this.home;
    const app = target === null ? undefined : this.#app(target);
    return uid === app?.uid ? app : undefined;
  }

  /**
   * Whether a file is somebody else's that has been linked hard into an app, which the kernel forbids unless
   * `fs.protected_hardlinks` is 0. Files of root's that Sluice itself makes have one name.
   */
  isStrangers(stats: Pick<Stats, 'uid' | 'nlink'>, target: EnvironmentId | null): boolean {
    return stats.nlink > 1 && this.whose(stats, target) === undefined;
  }

  /** Gives what we have made as root to whom the home belongs. */
  async giveToHome(path: string): Promise<void> {
    // Whoever owns the home may have put a link in its place.
    if (this.isolated) await lchown(path, this.home.uid, this.home.gid);
  }

  /**
   * The user of an app, made where there is none yet.
   * @throws AppError `user_refused` where it is not ours: it would be given the app's files
   */
  async ensureApp(target: EnvironmentId): Promise<Owner> {
    const there = this.#apps.get(environmentName(target)) ?? findAppUser(this.#paths, this.home, target);
    if (there === undefined) await addAppUser(this.#paths, this.home, target);
    const user = there ?? findAppUser(this.#paths, this.home, target);
    if (user === undefined) throw new Error(`useradd has made no user for ${environmentName(target)}`);
    this.#apps.set(environmentName(target), user);
    return user;
  }

  #app(target: EnvironmentId): Owner | undefined {
    const key = environmentName(target);
    if (!this.#apps.has(key)) this.#apps.set(key, this.#find(target));
    return this.#apps.get(key);
  }

  /** One of that name who is somebody else owns nothing here. */
  #find(target: EnvironmentId): Owner | undefined {
    try {
      return findAppUser(this.#paths, this.home, target);
    } catch (error) {
      if (error instanceof AppError && error.code === 'user_refused') return undefined;
      throw error;
    }
  }
}

/** To whom something belongs of which nothing else is said. @param isolated whether apps have users of their own there */
export function usualOwner({ isOfApp }: Place, isolated: boolean): 'app' | 'owner' {
  return isOfApp && isolated ? 'app' : 'owner';
}
