import type { Stats } from 'node:fs';
import { chmod, lchown, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { addAppUser, findAppUser, givesAppUsers, type HomeOwner } from '../config/app-user.ts';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { findUser } from '../system/process/user.ts';
import { isReleaseDirectory } from './layout.ts';
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

  /** @param app user of the app that has the file */
  rolesOf({ uid, gid }: Stats, app: Owner | undefined): { owner: string; group: string } {
    const role = (number: number, ofApp: number | undefined, ofHome: number) =>
      number === ofHome ? 'owner' : number === ofApp ? 'app' : number === 0 ? 'root' : 'owner';
    return { owner: role(uid, app?.uid, this.home.uid), group: role(gid, app?.gid, this.home.gid) };
  }

  /** Returns the user of an app; undefined without a user, and for a user of another program. */
  findApp(id: EnvironmentId): Owner | undefined {
    try {
      return findAppUser(this.#paths, this.home, id);
    } catch (error) {
      if (error instanceof AppError && error.code === 'user_refused') return undefined;
      throw error;
    }
  }

  /** Gives a file that this process made as root to the owner of the home, who may have put a link in its place. */
  async giveToHome(path: string): Promise<void> {
    if (this.isolated) await lchown(path, this.home.uid, this.home.gid);
  }

  /**
   * Gives all unpacked files to their owners by role, and adds missing users of apps. Without users of apps, all files stay
   * with this process. The directory `staging` itself stays closed: no other user can replace entries in it.
   * @throws AppError `user_refused` for a user of another program
   */
  async giveAll(staging: Paths, { head, entries }: Unpacked): Promise<void> {
    if (!this.isolated) return;
    const apps = new Map<string, Owner>();
    for (const id of head.environments) apps.set(environmentName(id), await this.#ensureApp(id));
    for (const [path, { type, location, owner, group }] of entries) {
      const at = join(staging.home, path);
      const app = (location.id && apps.get(environmentName(location.id))) ?? this.home;
      const userOf = (role: string): Owner => {
        // Without users of apps, the files of an app belonged to the owner of the home. They are the app's now.
        if (head.isolated ? role === 'app' : location.isOfApp) return app;
        return head.isolated && role === 'root' ? { uid: 0, gid: 0 } : this.home;
      };
      if (type === 'directory' && location.isOfApp && isReleaseDirectory(path)) {
        // Sticky, as after a build: otherwise the app could replace Sluice's records of the release.
        await lchown(at, this.home.uid, app.gid);
        await chmod(at, 0o1770);
      } else await lchown(at, userOf(owner).uid, userOf(group).gid);
    }
    for (const { app, environment } of head.environments) {
      // Other users may pass through; the entries have their own modes.
      await chmod(staging.environment({ app, environment }).directory, 0o711);
      await chmod(staging.app(app), 0o711);
    }
    await chmod(staging.home, 0o711);
  }

  async #ensureApp(id: EnvironmentId): Promise<Owner> {
    const find = () => findAppUser(this.#paths, this.home, id);
    const known = find();
    if (known === undefined) await addAppUser(this.#paths, this.home, id);
    const user = known ?? find();
    if (user === undefined) throw new Error(`useradd has not added a user for ${environmentName(id)}`);
    return user;
  }
}
