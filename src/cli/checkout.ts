import fs from 'node:fs';
import { lstat } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';

/** What git knows of a directory that is to be uploaded, as the API takes it. */
export interface CheckoutCommit {
  commit: string;
  branch: string | undefined;
  author: string;
  message: string;
  /** the part of the commit that the directory is; undefined where it is all of it */
  directory: string | undefined;
  /** files of the directory that are not as the commit has them */
  changedFiles: number;
}

/** The directory above, or `directory` itself, that holds a repository; undefined without one. */
export async function repositoryAround(directory: string): Promise<string | undefined> {
  for (let at = directory; ; at = dirname(at)) {
    const git = await lstat(join(at, '.git')).catch(() => undefined);
    if (git !== undefined) return at;
    if (at === dirname(at)) return undefined;
  }
}

/** It travels in a URL, which has its limits; in characters. */
const maxText = 500;

/** Of the parts of statusMatrix's rows: path, in HEAD, in the directory, in the index. */
const [inHead, inDirectory] = [1, 2];

/**
 * The commit that is checked out in a directory, and how many files differ from it. Read without git, which need not be
 * installed here. Undefined where there is no repository, or no commit in it yet.
 * @throws whatever is wrong with the repository
 */
export async function commitOf(directory: string): Promise<CheckoutCommit | undefined> {
  const dir = await repositoryAround(directory);
  if (dir === undefined) return undefined;
  const git = await import('isomorphic-git');
  const ref = await git.resolveRef({ fs, dir, ref: 'HEAD' }).catch((error: { code?: string }) => {
    if (error.code !== 'NotFoundError') throw error;
  });
  if (ref === undefined && (await isElsewhere(dir)))
    throw new Error('it is kept in another directory (a worktree)');
  if (ref === undefined) return undefined;
  const { commit } = await git.readCommit({ fs, dir, oid: ref });
  const below = relative(dir, directory).split(sep).join('/');
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

/** Of a worktree and a submodule, `.git` is a file that says where the repository is. */
async function isElsewhere(dir: string): Promise<boolean> {
  return (await lstat(join(dir, '.git'))).isFile();
}

/** Paths that git keeps in a repository, relative to its top, whatever rules there are to ignore some. */
export async function trackedFiles(dir: string): Promise<string[]> {
  const { listFiles } = await import('isomorphic-git');
  return listFiles({ fs, dir });
}
