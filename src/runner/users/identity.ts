import type { SpawnOptions } from 'node:child_process';
import { type EnvironmentId, parseEnvironmentName } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';

/** Who a process runs as. */
export interface Identity {
  name: string;
  uid: number;
  gid: number;
  home: string;
  /** where its temporary files go; undefined for the machine's directory */
  temporary?: string;
}

/**
 * What makes `spawn` start a process as `user`, without our groups (libuv gives up all of them where a uid is set), and
 * with the variables that say who it is, where the app has none of its own. This is the last guard: nothing is started
 * as root.
 * @param user undefined for ourselves, where there are no users
 */
export function asUser(
  user: Identity | undefined,
  env: Record<string, string>,
): Pick<SpawnOptions, 'uid' | 'gid' | 'env'> {
  if (user === undefined) return { env };
  const { name, uid, gid, home, temporary } = user;
  if (!(uid > 0 && gid > 0))
    throw new AppError('user_refused', `nothing is run as ${name} (uid ${uid}, gid ${gid})`);
  const own = { HOME: home, USER: name, LOGNAME: name, SHELL: '/bin/sh' };
  return { uid, gid, env: { ...own, ...(temporary !== undefined && { TMPDIR: temporary }), ...env } };
}

/**
 * The target that the server names. What becomes names of files, of users and of cgroups is taken from it alone: a key
 * that is none would lead out of where they belong.
 * @throws AppError `user_refused`
 */
export function checkedEnvironment(key: string): EnvironmentId {
  const target = typeof key === 'string' ? parseEnvironmentName(key) : undefined;
  if (target !== undefined) return target;
  throw new AppError('user_refused', `${JSON.stringify(key)} names no app`);
}
