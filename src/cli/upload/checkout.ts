import fs, { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/** Commit of an uploaded directory, as parameters of the API. */
export interface CheckoutCommit {
  commit: string;
  branch: string | undefined;
  author: string;
  message: string;
  /** path of the directory in the commit; undefined if it is the top */
  directory: string | undefined;
  /** number of files that differ from the commit */
  changedFiles: number;
}

/** Returns the top of the repository that `directory` is in; undefined if there is none. */
export function repositoryAround(directory: string): string | undefined {
  for (let at = directory; ; at = dirname(at)) {
    if (existsSync(join(at, '.git'))) return at;
    if (at === dirname(at)) return undefined;
  }
}

/** Longest author or message, in characters: a URL has limits. */
const maxText = 500;

/** Positions in a row of statusMatrix: path, state in HEAD, in the directory, in the index. */
const [inHead, inDirectory] = [1, 2];

/**
 * Returns the commit that is checked out in a directory; undefined without a repository or a commit. Does not need git.
 * @throws Error if the repository cannot be read
 */
export async function commitOf(directory: string): Promise<CheckoutCommit | undefined> {
  const dir = repositoryAround(directory);
  if (dir === undefined) return undefined;
  const git = await import('isomorphic-git');
  const ref = await git.resolveRef({ fs, dir, ref: 'HEAD' }).catch((error: { code?: string }) => {
    if (error.code !== 'NotFoundError') throw error;
  });
  if (ref === undefined) {
    // A file with the path of the repository.
    const isElsewhere = (await stat(join(dir, '.git'))).isFile();
    if (isElsewhere) throw new Error('it is in another directory (a worktree or a submodule)');
    return undefined;
  }
  const { commit } = await git.readCommit({ fs, dir, oid: ref });
  const below = relative(dir, directory);
  const rows = await git.statusMatrix({ fs, dir, cache: {}, ...(below !== '' && { filepaths: [below] }) });
  return {
    commit: ref,
    branch: (await git.currentBranch({ fs, dir })) ?? undefined,
    author: commit.author.name.slice(0, maxText),
    message: commit.message.trim().slice(0, maxText),
    directory: below === '' ? undefined : below,
    changedFiles: rows.filter((row) => !(row[inHead] === 1 && row[inDirectory] === 1)).length,
  };
}
