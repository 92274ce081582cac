import { setTimeout as sleep } from 'node:timers/promises';
import { addAppUser, appUserName, findAppUser } from '../../config/app-user.ts';
import type { Paths } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { Lock } from '../../system/concurrency/slots.ts';
import { run } from '../../system/process/run.ts';
import { findUser } from '../../system/process/user.ts';
import { checkedEnvironment, type Identity } from './identity.ts';

/** Longest wait for the processes of a user, which userdel refuses to remove until they are gone; in ms. */
const goneWithin = 5000;
/** Exit status of userdel if a process of the user is left. */
const stillLoggedIn = 8;

/**
 * System users of a privileged host: the owner of the home, and one user for each environment. Callers of the runner name an
 * environment, never a system user. So a server that has been taken over reaches only its own user and those of the apps.
 */
export class Users {
  readonly owner: Identity;
  readonly #paths: Paths;
  /** one at a time, because useradd and userdel lock a file and do not wait for it */
  readonly #changes = new Lock();

  /** @throws AppError `user_refused` if the owner of the home is root, or has no name */
  constructor(paths: Paths, ownerUid: number) {
    this.#paths = paths;
    const owner = findUser(({ uid }) => uid === ownerUid);
    if (owner === undefined || owner.uid === 0) {
      const message = `${paths.home} belongs to uid ${ownerUid}, and nothing may run as that user`;
      throw new AppError('user_refused', message, {
        hint: 'Give the directory to the system user that the server runs as.',
      });
    }
    this.owner = owner;
  }

  /**
   * Returns the user of an environment.
   * @param key null for the owner of the home
   * @throws AppError `user_refused` if there is no such user, or Sluice has not made it
   */
  of(key: string | null): Identity {
    // Not /tmp, where other users could prepare files that a job of the server reads.
    if (key === null) return { ...this.owner, temporary: this.#paths.home };
    const user = this.find(key);
    if (user !== undefined) return user;
    const name = appUserName(this.owner.name, checkedEnvironment(key));
    throw new AppError('user_refused', `the system user ${name} of ${key} does not exist`, {
      hint: 'Deploy the app, or restart Sluice: both create the user.',
    });
  }

  /** Returns the user of an environment; undefined if there is none. @throws AppError `user_refused` if Sluice has not made it */
  find(key: string): Identity | undefined {
    const id = checkedEnvironment(key);
    const user = findAppUser(this.#paths, this.owner, id);
    return user && { ...user, temporary: this.#paths.environment(id).temporary };
  }

  /** Returns the user of an environment, and makes it first if it does not exist. */
  ensure(key: string): Promise<Identity> {
    return this.#changes.run(async () => {
      if (this.find(key) === undefined) await addAppUser(this.#paths, this.owner, checkedEnvironment(key));
      return this.of(key);
    });
  }

  /** Removes the user of an environment. Its processes must have been killed. */
  remove(key: string): Promise<void> {
    return this.#changes.run(async () => {
      const deadline = performance.now() + goneWithin;
      for (let user = this.find(key); user !== undefined; user = this.find(key)) {
        try {
          await run('/usr/sbin/userdel', [user.name]);
        } catch (error) {
          const { code } = error as { code?: unknown };
          if (code !== stillLoggedIn || performance.now() > deadline) throw error;
          await sleep(50);
        }
      }
    });
  }
}
