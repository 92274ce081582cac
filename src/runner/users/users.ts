import { execFile } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Paths, type Target, targetOf } from '../../config/paths.ts';
import { appUserName } from '../../config/user-name.ts';
import { AppError } from '../../errors/app-error.ts';
import { Serial } from '../../system/serial.ts';
import type { Identity } from './identity.ts';
import { findUser, type PasswdEntry } from './passwd.ts';

const run = promisify(execFile);

/** Of programs that run as root: nothing of our own environment is theirs. */
const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
/** userdel refuses while a process of the user is left, which is killed and has yet to be gone; in ms */
const goneWithin = 5000;
/** its exit status then */
const stillLoggedIn = 8;

/**
 * The system users that things run as, for a runner that is root: the owner of the home, and one for each target. Those
 * who ask name a key and never a user, so that a server that has been taken over gets no further than what it has
 * already: its own user, and those of the apps.
 */
export class Users {
  readonly owner: Identity;
  readonly #paths: Paths;
  /** useradd and userdel lock a file, and fail where it is */
  readonly #changes = new Serial();

  /** @throws AppError `user_refused` where the home is nobody's who has a name, or root's */
  constructor(paths: Paths, ownerUid: number) {
    this.#paths = paths;
    const owner = findUser(({ uid }) => uid === ownerUid);
    if (owner === undefined || owner.uid === 0) {
      throw new AppError(
        'user_refused',
        `${paths.home} belongs to uid ${ownerUid}, as which nothing is run`,
        {
          hint: 'The directory must belong to the system user that the server runs as.',
        },
      );
    }
    this.owner = owner;
  }

  /**
   * @param key of a target; null for the owner of the home
   * @throws AppError `user_refused` where there is none, or one of that name is not ours
   */
  of(key: string | null): Identity {
    if (key === null) return this.owner;
    const user = this.find(key);
    if (user === undefined) {
      throw new AppError('user_refused', `there is no user ${this.#nameOf(key)} for ${key}`, {
        hint: 'A deploy of the app makes it, and a start of Sluice does.',
      });
    }
    return user;
  }

  /** The same; undefined where there is none. */
  find(key: string): Identity | undefined {
    const name = this.#nameOf(key);
    const entry = findUser((each) => each.name === name);
    if (entry === undefined) return undefined;
    this.#assertOurs(entry, key);
    return { ...entry, temporary: this.#paths.target(this.#target(key)).temporary };
  }

  /** Makes the user of a target, unless it is there. */
  ensure(key: string): Promise<Identity> {
    return this.#changes.run(async () => {
      const there = this.find(key);
      if (there !== undefined) return there;
      const home = this.#paths.target(this.#target(key)).home;
      const options = ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin'];
      const about = ['--home-dir', home, '--comment', commentOf(key)];
      await run('/usr/sbin/useradd', [...options, ...about, this.#nameOf(key)], { env });
      return this.of(key);
    });
  }

  /** Removes it; nothing of it may run any more. */
  remove(key: string): Promise<void> {
    return this.#changes.run(async () => {
      const deadline = performance.now() + goneWithin;
      for (let user = this.find(key); user !== undefined; user = this.find(key)) {
        try {
          await run('/usr/sbin/userdel', [user.name], { env });
        } catch (error) {
          if ((error as { code?: unknown }).code !== stillLoggedIn || performance.now() > deadline)
            throw error;
          await pause(50);
        }
      }
    });
  }

  #target(key: string): Target {
    const target = targetOf(key);
    if (target === undefined) throw new AppError('user_refused', `${key} names no app`);
    return target;
  }

  #nameOf(key: string): string {
    return appUserName(this.owner.name, this.#target(key));
  }

  /** A name that is taken by somebody else, or by an app of another home, is no way to become them. */
  #assertOurs({ name, uid, gid, comment, home }: PasswdEntry, key: string): void {
    const isOurs = comment === commentOf(key) && home === this.#paths.target(this.#target(key)).home;
    if (isOurs && uid > 0 && gid > 0 && uid !== this.owner.uid && gid !== this.owner.gid) return;
    throw new AppError(
      'user_refused',
      `the system user ${name} is not that of ${key} in ${this.#paths.home}`,
      {
        hint: `\`getent passwd ${name}\` shows whose it is. Remove it, or name the app otherwise.`,
      },
    );
  }
}

/** Tells those who look at /etc/passwd what it is, and us that it is ours. */
function commentOf(key: string): string {
  return `Sluice app ${key}`;
}
