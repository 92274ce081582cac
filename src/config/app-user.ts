import { createHash } from 'node:crypto';
import { AppError } from '../errors/app-error.ts';
import { run } from '../system/process/run.ts';
import { findUser, type PasswdEntry } from '../system/process/user.ts';
import { defaultEnvironment, type EnvironmentId, environmentName, type Paths } from './paths.ts';

/** Owner of a home. */
export type HomeOwner = Pick<PasswdEntry, 'name' | 'uid' | 'gid'>;

/** Returns true if apps get their own system users: Sluice runs as root, and root does not own the home. */
export function givesAppUsers(ownerUid: number): boolean {
  return process.getuid?.() === 0 && ownerUid !== 0;
}

/**
 * Returns the system user of an environment; undefined if there is none.
 * @throws AppError `user_refused` if a user with that name is not of Sluice, or of another home. No process may run as such a
 *   user, and no file may be given to such a user.
 */
export function findAppUser(paths: Paths, owner: HomeOwner, id: EnvironmentId): PasswdEntry | undefined {
  const name = appUserName(owner.name, id);
  const user = findUser((each) => each.name === name);
  if (user === undefined) return undefined;
  const { uid, gid, comment, home } = user;
  const isOurs = comment === commentOf(id) && home === paths.environment(id).home;
  if (isOurs && uid > 0 && gid > 0 && uid !== owner.uid && gid !== owner.gid) return user;
  throw new AppError(
    'user_refused',
    `the system user ${name} does not belong to ${environmentName(id)} in ${paths.home}`,
    { hint: `Check the user with \`getent passwd ${name}\`. Remove the user, or give the app another name.` },
  );
}

/** Creates the system user of an environment. Requires root. */
export async function addAppUser(paths: Paths, owner: HomeOwner, id: EnvironmentId): Promise<void> {
  const options = ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin'];
  const about = ['--home-dir', paths.environment(id).home, '--comment', commentOf(id)];
  const argv = [...options, ...about, appUserName(owner.name, id)];
  await run('/usr/sbin/useradd', argv);
}

/** Returns the comment for /etc/passwd. It names the app, and marks the user for Sluice and install.sh. */
function commentOf(id: EnvironmentId): string {
  return `Sluice app ${environmentName(id)}`;
}

/** Limit of Linux: 32 characters with the final NUL, see useradd(8). */
const maxNameLength = 31;
const hashLength = 8;

/**
 * Returns the name of the system user of an environment: `sluice_shop`, `sluice_shop_staging`. The name is unique: names of apps
 * and environments have no `_` and begin with a letter, and a shortened name has two `_` in a row: `sluice_a-very-long-ap__1f0c9a7d`.
 * @param owner user that owns the home; installations of different users share no system users
 */
export function appUserName(owner: string, id: EnvironmentId): string {
  const { app, environment } = id;
  const suffix = environment === defaultEnvironment ? '' : `_${environment}`;
  const name = `${owner}_${app}${suffix}`;
  if (name.length <= maxNameLength) return name;
  const hash = createHash('sha256').update(environmentName(id)).digest('hex').slice(0, hashLength);
  return `${name.slice(0, maxNameLength - hashLength - 2).replace(/_+$/, '')}__${hash}`;
}
