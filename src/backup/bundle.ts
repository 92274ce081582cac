import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, renameSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { AppError } from '../errors/app-error.ts';
import { explainStart, gitEnvironment } from '../git/git.ts';
import { asUser } from '../system/as-owner.ts';
import { asOther, runAs } from '../system/run-as.ts';
import type { Owner } from './owners.ts';

/**
 * Writes a repository with all its refs into a file, in git's own form for that: whole and consistent, whatever is pushed
 * or collected meanwhile, and without the repository's configuration.
 * @param owner of the repository: git works on none of somebody else, and root must not run what may stand in its settings
 * @returns false where there is nothing in it yet
 */
export async function writeBundle(repository: string, into: FileHandle, owner: Owner): Promise<boolean> {
  const refs = await run(['--git-dir', repository, 'for-each-ref', '--count=1'], owner);
  if (refs === '') return false;
  const child = spawn('git', ['--git-dir', repository, 'bundle', 'create', '--quiet', '-', '--all'], {
    stdio: ['ignore', into.fd, 'pipe'],
    env: gitEnvironment(),
    ...asOther(owner),
  });
  const end = () => child.kill();
  process.on('SIGINT', end);
  const [complaint, [code]] = await Promise.all([
    text(child.stderr as NodeJS.ReadableStream),
    once(child, 'exit'),
  ]).finally(() => process.off('SIGINT', end));
  if (code !== 0) throw failed(complaint.trim());
  return true;
}

/** git knows no more of a full disk than its text. */
function failed(complaint: string): Error {
  if (!/No space left on device|quota exceeded/i.test(complaint))
    return new Error(`git bundle failed: ${complaint}`);
  return new AppError('disk_full', 'the disk of the home is full', {
    hint: 'A repository is copied there before it is in the backup. Free some space, and try again.',
  });
}

/** The inverse. Hooks and HEAD are the server's to set, when it starts. @throws AppError `archive_unreadable` */
export async function readBundle(bundle: string, repository: string, owner: Owner): Promise<void> {
  const fresh = join(dirname(bundle), 'fresh.git');
  asUser(owner, () => mkdirSync(fresh, { mode: 0o700 }));
  const git = (...args: string[]) => run(['-c', 'gc.auto=0', '--git-dir', fresh, ...args], owner);
  await git('init', '--quiet', '--bare', '--initial-branch=main', '--template=');
  try {
    await git('fetch', '--quiet', '--no-write-fetch-head', bundle, '+refs/*:refs/*');
  } catch (cause) {
    throw new AppError('archive_unreadable', `a repository in it is damaged: ${(cause as Error).message}`, {
      cause,
    });
  }
  asUser(owner, () => renameSync(fresh, repository));
}

/** Those of `commits` that a repository has. */
export async function commitsIn(repository: string, commits: string[], owner: Owner): Promise<Set<string>> {
  if (commits.length === 0) return new Set();
  const output = await run(
    ['--git-dir', repository, 'cat-file', '--batch-check=%(objectname) %(objecttype)'],
    owner,
    commits.map((commit) => `${commit}\n`).join(''),
  );
  return new Set(output.split('\n').flatMap((line) => /^(\w+) commit$/.exec(line)?.[1] ?? []));
}

async function run(args: string[], owner: Owner, input = ''): Promise<string> {
  try {
    return await runAs(owner, ['git', ...args], { env: gitEnvironment(), input });
  } catch (error) {
    throw explainStart(error) ?? error;
  }
}
