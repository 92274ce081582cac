import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import type { Paths } from './paths.ts';

/**
 * Makes sure that the sockets lie where nobody else can put theirs. In the home they do; in the temporary directory
 * anybody may have made that directory before us. One that is not there yet is fine.
 * @throws AppError `path_too_long`
 */
export async function checkRunDirectory({ home, run }: Paths): Promise<void> {
  if (run === join(home, 'run')) return;
  const stats = await ifThere(lstat(run));
  if (stats === undefined) return;
  const isOurs = stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o077) === 0;
  if (isOurs) return;
  throw new AppError('path_too_long', `${run}, where the sockets of ${home} are to lie, is open to others`, {
    hint: 'Remove it if you know whose it is, or set SLUICE_HOME to a shorter path: the sockets then lie in there.',
  });
}
