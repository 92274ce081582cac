import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { Repository } from '../../src/git/repository.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const elsewhere = '1'.repeat(40);

test('a submodule is found among 100,000 directories', async (t) => {
  const { repository, tree, commit } = await emptyRepository(t);
  const leaf = tree([`100644 blob ${blob(repository)}\tfile`]);
  const names = Array.from({ length: 316 }, (_, index) => `a-directory-with-a-name-as-long-as-${index}`);
  const middle = tree(names.map((name) => `040000 tree ${leaf}\t${name}`));
  const root = names.map((name) => `040000 tree ${middle}\t${name}`);
  const huge = commit(tree([...root, `160000 commit ${elsewhere}\tvendor of others`]));
  assert.deepEqual(await repository.submodules(huge), ['vendor of others']);
});

test('a commit of a million submodules is refused', async (t) => {
  const { repository, tree, commit } = await emptyRepository(t);
  const names = Array.from({ length: 1000 }, (_, index) => `name-${index}`);
  const middle = tree(names.map((name) => `160000 commit ${elsewhere}\t${name}`));
  const million = commit(tree(names.map((name) => `040000 tree ${middle}\t${name}`)));
  await assert.rejects(repository.submodules(million), {
    code: 'git_failed',
    message: /prints more than \d+ bytes/,
  });
});

test('the error of a tree that git cannot read has the message of git', async (t) => {
  const { repository } = await emptyRepository(t);
  await assert.rejects(repository.submodules(elsewhere), /git ls-tree failed: fatal: not a tree object/);
});

async function emptyRepository(t: Parameters<typeof temporaryDirectory>[0]) {
  const repository = new Repository(`${await temporaryDirectory(t)}/repository.git`);
  await repository.ensure();
  const tree = (entries: string[]) => git(repository, ['mktree', '--missing'], `${entries.join('\n')}\n`);
  const identity = ['-c', 'user.name=Test', '-c', 'user.email=test@example.com'];
  const commit = (id: string) => git(repository, [...identity, 'commit-tree', '-m', 'One', id]);
  return { repository, tree, commit };
}

function blob(repository: Repository): string {
  return git(repository, ['hash-object', '-w', '--stdin'], 'text');
}

function git({ path }: Repository, args: string[], input = ''): string {
  return execFileSync('git', [`--git-dir=${path}`, ...args], { input, encoding: 'utf8' }).trim();
}
