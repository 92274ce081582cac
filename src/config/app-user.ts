import { createHash } from 'node:crypto';
import { AppError } from '../errors/app-error.ts';
import { run } from '../system/process/run.ts';
import { findUser, type PasswdEntry } from '../system/process/user.ts';
import { defaultEnvironment, type EnvironmentId, environmentName, type Paths } from './paths.ts';

/** Whom a home belongs to. */
export type HomeOwner = Pick<PasswdEntry, 'name' | 'uid' | 'gid'>;

/** Whether apps get users of their own from us: only root can make them, and what is root's stays with root. */
export function givesAppUsers(ownerUid: number): boolean {
  return process.getuid?.() === 0 && ownerUid !== 0;
}

/**
 * The system user of a target; undefined where there is none.
 * @throws AppError `user_refused` where one of that name is not ours: somebody else, or an app of another home, is
 * nobody to become, nor to give files to
 */
export function findAppUser(paths: Paths, owner: HomeOwner, target: EnvironmentId): PasswdEntry | undefined {
  const name = appUserName(owner.name, target);
  const user = findUser((each) => each.name === name);
  if (user === undefined) return undefined;
  const { uid, gid, comment, home } = user;
  const isOurs = comment === commentOf(target) && home === paths.environment(target).home;
  if (isOurs && uid > 0 && gid > 0 && uid !== owner.uid && gid !== owner.gid) return user;
  throw new AppError(
    'user_refused',
    `the system user ${name} is not that of ${environmentName(target)} in ${paths.home}`,
    { hint: `\`getent passwd ${name}\` shows whose it is. Remove it, or name the app otherwise.` },
  );
}

/** Makes it. Takes root. */
export async function addAppUser(paths: Paths, owner: HomeOwner, target: EnvironmentId): Promise<void> {
  const options = ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin'];
  const about = ['--home-dir', paths.environment(target).home, '--comment', commentOf(target)];
  const argv = [...options, ...about, appUserName(owner.name, target)];
  await run('/usr/sbin/useradd', argv);
}

/** Comment in /etc/passwd: names the app to people, and shows Sluice and install.sh that the user is Sluice's. */
function commentOf(target: EnvironmentId): string {
  return `Sluice app ${environmentName(target)}`;
}

/** Linux takes 32 characters with the end of the string: useradd(8). */
const longest = 31;
const hashLength = 8;

/**
 * The system user that an app runs as in one of its environments: `sluice_shop`, `sluice_shop_staging`. Names of apps and
 * environments have no `_` and begin with a letter, so no two targets come to one name, and none to a shortened one,
 * which has two in a row: `sluice_a-very-long-ap__1f0c9a7d`.
 * @param owner the user that the home belongs to: two installs of different users do not share any
 */
export function appUserName(owner: string, target: EnvironmentId): string {
  const { app, environment } = target;
  const suffix = environment === defaultEnvironment ? '' : `_${environment}`;
  const name = `${owner}_${app}${suffix}`;
  if (name.length <= longest) return name;
  const hash = createHash('sha256').update(environmentName(target)).digest('hex').slice(0, hashLength);
  return `${name.slice(0, longest - hashLength - 2).replace(/_+$/, '')}__${hash}`;
}
