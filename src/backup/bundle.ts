import type { StdioOptions } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { explainStart, gitEnvironment } from '../git/git.ts';
import { runAs } from '../system/process/run.ts';
import { asUser } from '../system/process/user.ts';
import type { Owner } from './owners.ts';

/**
 * Writes a repository with all its refs into a file, as a bundle of git. The bundle is consistent during pushes, and has no
 * configuration.
 * @param owner of the repository: git refuses those of others, and root must not run programs of its configuration
 * @returns false for an empty repository
 */
export async function writeBundle(repository: string, into: FileHandle, owner: Owner): Promise<boolean> {
  const refs = await run(['--git-dir', repository, 'for-each-ref', '--count=1'], owner);
  if (refs === '') return false;
  const bundle = ['--git-dir', repository, 'bundle', 'create', '--quiet', '-', '--all'];
  try {
    await run(bundle, owner, { stdio: ['ignore', into.fd, 'pipe'] });
    return true;
  } catch (error) {
    // Git reports a full disk in words only.
    if (!/No space left on device|quota exceeded/i.test((error as Error).message)) throw error;
    throw new AppError('disk_full', 'the disk of the home is full', {
      hint: 'Each repository is copied there before it gets into the backup. Free some space, then try again.',
      cause: error,
    });
  }
}

/**
 * Creates a repository from a bundle. The server sets hooks and HEAD when it starts. A bundle has no list of the commits at
 * which a shallow history ends, so the repository is made shallow at the commits that lack parents.
 * @throws AppError `archive_unreadable`
 */
export async function readBundle(bundle: string, repository: string, owner: Owner): Promise<void> {
  const fresh = join(dirname(bundle), 'fresh.git');
  asUser(owner, () => mkdirSync(fresh, { mode: 0o700 }));
  const git = (...args: string[]) => run(['-c', 'gc.auto=0', '--git-dir', fresh, ...args], owner);
  await git('init', '--quiet', '--bare', '--initial-branch=main', '--template=');
  const fetch = () => git('fetch', '--quiet', '--no-write-fetch-head', bundle, '+refs/*:refs/*');
  try {
    await fetch().catch(async (error: unknown) => {
      await git('bundle', 'unbundle', bundle);
      const cut = await commitsWithoutParents(fresh, owner);
      if (cut.length === 0) throw error;
      asUser(owner, () => writeFileSync(join(fresh, 'shallow'), cut.map((id) => `${id}\n`).join('')));
      await fetch();
    });
  } catch (cause) {
    throw new AppError(
      'archive_unreadable',
      `a repository of the backup is damaged: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
  asUser(owner, () => renameSync(fresh, repository));
}

/** Lists the commits in a repository that lack a parent. */
async function commitsWithoutParents(repository: string, owner: Owner): Promise<string[]> {
  const git = (args: string[], input = '') => run(['--git-dir', repository, ...args], owner, { input });
  const format = '--batch-check=%(objecttype) %(objectname)';
  const objects = await git(['cat-file', '--batch-all-objects', format]);
  const commits = objects.split('\n').flatMap((line) => /^commit (\w+)$/.exec(line)?.[1] ?? []);
  if (commits.length === 0) return [];
  const parents = await git(
    ['rev-list', '--stdin', '--no-walk=unsorted', '--parents'],
    commits.map((commit) => `${commit}\n`).join(''),
  );
  const known = new Set(commits);
  const rows = parents.split('\n').map((line) => line.split(' '));
  return rows.flatMap(([commit = '', ...ids]) => (ids.every((id) => known.has(id)) ? [] : [commit]));
}

/** Returns true if a repository has a commit. */
export async function hasCommit(repository: string, commit: string, owner: Owner): Promise<boolean> {
  const check = ['cat-file', '--batch-check=%(objectname) %(objecttype)'];
  const output = await run(['--git-dir', repository, ...check], owner, { input: `${commit}\n` });
  return output === `${commit} commit\n`;
}

async function run(
  args: string[],
  owner: Owner,
  options: { input?: string; stdio?: StdioOptions } = {},
): Promise<string> {
  try {
    return await runAs(owner, ['git', ...args], { env: gitEnvironment(), ...options });
  } catch (error) {
    throw explainStart(error) ?? error;
  }
}
