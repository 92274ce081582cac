import { join } from 'node:path';
import { PinnedDirectory } from '../../system/fs/pinned-directory.ts';

/**
 * Calls `start` with a path of a directory inside a release, to start a process there; returns its result. As root, a plain path
 * would not do: a process enters its directory before it changes its user, and the app may put a link in place of a directory.
 * @param inside relative to `release`, without links; undefined or '' for the release itself
 * @throws a system error: ENOENT, ENOTDIR, ELOOP
 */
export function startIn<T>(release: string, inside: string | undefined, start: (directory: string) => T): T {
  if (!inside) return start(release);
  // macOS has no /proc; there apps have no users.
  if (process.platform !== 'linux') return start(join(release, inside));
  const [first = '', ...rest] = inside.split('/');
  using top = PinnedDirectory.at(release);
  using directory = top.open(first, ...rest);
  return start(directory.path);
}

/** Returns the variable that names the working directory, as each shell sets it for its programs. @param inside as for `startIn` */
export function directoryVariable(release: string, inside = ''): { PWD: string } {
  return { PWD: join(release, inside) };
}
