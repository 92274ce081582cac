import type { Stats } from 'node:fs';
import { chmod, lchown, readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { addAppUser, findAppUser, givesAppUsers, type HomeOwner } from '../config/app-user.ts';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { findUser } from '../system/process/user.ts';
import { isReleaseDirectory, type Location, locate } from './layout.ts';
import type { Unpacked } from './unpack.ts';

/** User and group, as the kernel has them. */
export interface Owner {
  uid: number;
  gid: number;
}

/**
 * Owners of files by role: `owner` of the home, `app` for the system user of an app, `root`. Numbers differ between
 * machines, and the user that Sluice runs as may have another name there.
 */
export class Owners {
  readonly home: HomeOwner;
  readonly #paths: Paths;
  /** by name of the environment; each file needs a lookup */
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

  /** True if files of apps belong to users of their own here: root runs the apps, and Sluice itself is not root. */
  get isolated(): boolean {
    return givesAppUsers(this.home.uid);
  }

  rolesOf(
    { uid, gid }: Pick<Stats, 'uid' | 'gid'>,
    id: EnvironmentId | null,
  ): { owner: string; group: string } {
    const app = this.#app(id);
    const role = (number: number, ofApp: number | undefined, ofHome: number) =>
      number === ofHome ? 'owner' : number === ofApp ? 'app' : number === 0 ? 'root' : 'owner';
    return { owner: role(uid, app?.uid, this.home.uid), group: role(gid, app?.gid, this.home.gid) };
  }

  /** Returns the user as whom a program may read a file: its owner, if that is the app or the owner of the home. */
  readerOf({ uid }: Pick<Stats, 'uid'>, id: EnvironmentId | null): Owner | undefined {
    if (!this.isolated || uid === this.home.uid) return this.home;
    const app = this.#app(id);
    return uid === app?.uid ? app : undefined;
  }

  /**
   * Returns true for a file of another user that was linked hard into an app. The kernel forbids this unless
   * `fs.protected_hardlinks` is 0. Files that Sluice makes as root have one name.
   */
  isForeign(stats: Pick<Stats, 'uid' | 'nlink'>, id: EnvironmentId | null): boolean {
    return stats.nlink > 1 && this.readerOf(stats, id) === undefined;
  }

  /** Gives a file that this process made as root to the owner of the home, who may have put a link in its place. */
  async giveToHome(path: string): Promise<void> {
    if (this.isolated) await lchown(path, this.home.uid, this.home.gid);
  }

  /** Returns the user of an app, and adds it if it is missing. @throws AppError `user_refused` for a user of another program */
  async ensureApp(id: EnvironmentId): Promise<Owner> {
    const name = environmentName(id);
    const known = this.#apps.get(name) ?? findAppUser(this.#paths, this.home, id);
    if (known === undefined) await addAppUser(this.#paths, this.home, id);
    const user = known ?? findAppUser(this.#paths, this.home, id);
    if (user === undefined) throw new Error(`useradd has not added a user for ${name}`);
    this.#apps.set(name, user);
    return user;
  }

  /** @returns undefined without a user, and for a user of another program */
  #app(id: EnvironmentId | null): Owner | undefined {
    if (id === null) return undefined;
    const name = environmentName(id);
    if (this.#apps.has(name)) return this.#apps.get(name);
    try {
      this.#apps.set(name, findAppUser(this.#paths, this.home, id));
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'user_refused')) throw error;
      this.#apps.set(name, undefined);
    }
    return this.#apps.get(name);
  }

  /**
   * Gives all unpacked files to their owners by role, and adds missing users of apps. Without users of apps, all files stay
   * with this process. The directory `staging` itself stays closed: no other user can replace entries in it.
   */
  async giveAll(staging: Paths, { head, roles, between }: Unpacked): Promise<void> {
    if (!this.isolated) return;
    for (const entry of await readdir(staging.home, { recursive: true, withFileTypes: true })) {
      const at = join(entry.parentPath, entry.name);
      const path = relative(staging.home, at);
      const location = between.has(path) ? { id: null, isOfApp: false } : locate(path);
      // Without users of apps, the files of an app belonged to the owner of the home. They are the app's now.
      const usual = usualRole(location, true);
      const role = (head.isolated ? roles.get(path) : undefined) ?? { owner: usual, group: usual };
      const app = location.id === null ? this.home : await this.ensureApp(location.id);
      if (entry.isDirectory() && !between.has(path) && isReleaseDirectory(path)) {
        // Sticky, as after a build: otherwise the app could replace Sluice's records of the release.
        await lchown(at, this.home.uid, app.gid);
        await chmod(at, 0o1770);
      } else await lchown(at, this.#user(role.owner, app).uid, this.#user(role.group, app).gid);
    }
    for (const { app, environment } of head.environments) {
      // Other users may pass through; the entries have their own modes.
      await chmod(staging.environment({ app, environment }).directory, 0o711);
      await chmod(staging.app(app), 0o711);
    }
    await chmod(staging.home, 0o711);
  }

  #user(role: string, app: Owner): Owner {
    if (role === 'root') return { uid: 0, gid: 0 };
    return role === 'app' ? app : this.home;
  }
}

/** Returns the role of an entry without other information. @param isolated true if apps had users of their own */
export function usualRole({ isOfApp }: Pick<Location, 'isOfApp'>, isolated: boolean): 'app' | 'owner' {
  return isOfApp && isolated ? 'app' : 'owner';
}
