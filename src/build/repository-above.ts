import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exists } from '../system/fs/exists.ts';
import { removeTree } from '../system/fs/remove-tree.ts';

/**
 * Returns the variable that keeps git from finding a repository above a release. Sluice in a checkout keeps releases in
 * `./.sluice`.
 */
export function withoutRepositoryAbove(directory: string): Record<string, string> {
  return { GIT_CEILING_DIRECTORIES: dirname(directory) };
}

/**
 * Hides a repository above a release from programs that search for `.git` without git, such as simple-git-hooks, which would change
 * the hooks of that repository. Such a program finds an empty directory in the release. Git ignores the directory.
 * @param isolated true if the build runs as another user, who cannot change that repository
 * @returns removes the directory
 */
export async function hideRepositoryAbove(directory: string, isolated: boolean): Promise<AsyncDisposable> {
  const own = join(directory, '.git');
  if (isolated || (await exists(own)) || !(await hasRepositoryAbove(directory))) {
    return new AsyncDisposableStack();
  }
  await mkdir(own);
  return { [Symbol.asyncDispose]: () => removeTree(own) };
}

async function hasRepositoryAbove(directory: string): Promise<boolean> {
  const parent = dirname(directory);
  if (parent === directory) return false;
  return (await exists(join(parent, '.git'))) || hasRepositoryAbove(parent);
}
