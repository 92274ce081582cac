import { setTimeout as sleep } from 'node:timers/promises';
import { addAppUser, appUserName, findAppUser } from '../../config/app-user.ts';
import type { Paths } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { Slots } from '../../system/concurrency/slots.ts';
import { run } from '../../system/process/run.ts';
import { findUser } from '../../system/process/user.ts';
import { checkedEnvironment, type Identity } from './identity.ts';

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
  readonly #changes = new Slots(1);

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
    // Not /tmp, where other users could prepare files that a job of the server reads.
    if (key === null) return { ...this.owner, temporary: this.#paths.home };
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
    const target = checkedEnvironment(key);
    const user = findAppUser(this.#paths, this.owner, target);
    return user && { ...user, temporary: this.#paths.environment(target).temporary };
  }

  /** Makes the user of a target, unless it is there. */
  ensure(key: string): Promise<Identity> {
    return this.#changes.run(async () => {
      const there = this.find(key);
      if (there !== undefined) return there;
      await addAppUser(this.#paths, this.owner, checkedEnvironment(key));
      return this.of(key);
    });
  }

  /** Removes it; nothing of it may run any more. */
  remove(key: string): Promise<void> {
    return this.#changes.run(async () => {
      const deadline = performance.now() + goneWithin;
      for (let user = this.find(key); user !== undefined; user = this.find(key)) {
        try {
          await run('/usr/sbin/userdel', [user.name]);
        } catch (error) {
          if ((error as { code?: unknown }).code !== stillLoggedIn || performance.now() > deadline)
            throw error;
          await sleep(50);
        }
      }
    });
  }

  #nameOf(key: string): string {
    return appUserName(this.owner.name, checkedEnvironment(key));
  }
}
