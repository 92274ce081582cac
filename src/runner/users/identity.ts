import type { SpawnOptions } from 'node:child_process';
import { type EnvironmentId, parseEnvironmentName } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';

/** System user of a process. */
export interface Identity {
  name: string;
  uid: number;
  gid: number;
  home: string;
  /** directory of its temporary files; undefined for the machine's directory */
  temporary?: string;
}

/**
 * Returns the options of `spawn` that start a process as `user`, without our groups: libuv drops all of them if a uid is set.
 * Adds the variables that name the user, unless the app sets them. This is the last guard against a process that runs as root.
 * @param user undefined for the user of this process, if apps have no users
 * @throws AppError `user_refused`
 */
export function identityOptions(
  user: Identity | undefined,
  env: Record<string, string>,
): Pick<SpawnOptions, 'uid' | 'gid' | 'env'> {
  if (user === undefined) return { env };
  const { name, uid, gid, home, temporary } = user;
  if (!(uid > 0 && gid > 0))
    throw new AppError('user_refused', `no process may run as ${name} (uid ${uid}, gid ${gid})`);
  const own = { HOME: home, USER: name, LOGNAME: name, SHELL: '/bin/sh' };
  return { uid, gid, env: { ...own, ...(temporary !== undefined && { TMPDIR: temporary }), ...env } };
}

/**
 * Returns the environment that the server names. Names of files, users and cgroups are made from the result alone: an invalid
 * name could point outside of their directories.
 * @throws AppError `user_refused`
 */
export function checkedEnvironment(key: string): EnvironmentId {
  const id = typeof key === 'string' ? parseEnvironmentName(key) : undefined;
  if (id !== undefined) return id;
  throw new AppError('user_refused', `invalid name of an environment: ${JSON.stringify(key)}`);
}
