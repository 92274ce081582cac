import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkEncryptedFiles } from '../../src/build/encrypted-files.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { writeTree } from '../support/tree.ts';

const encrypted = Buffer.from('\0GITCRYPT\0 and more', 'latin1');

async function tree(t: TestContext, files: Record<string, unknown>): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  return directory;
}

test('files that git-crypt has encrypted are rejected by name', async (t) => {
  const directory = await tree(t, {
    '.gitattributes':
      '# secrets\n*.key filter=git-crypt diff=git-crypt\nconfig/** filter=git-crypt\n*.png binary\n',
    'deep/er/a.key': encrypted,
    '.dot.key': encrypted,
    'plain.key': 'unlocked',
    'config/b.json': encrypted,
    'image.png': encrypted,
    'node_modules/x/c.key': encrypted,
    'vault/.gitattributes': '* filter=git-crypt\n.gitattributes !filter\n',
    'vault/d': encrypted,
  });
  await symlink('/etc/hostname', join(directory, 'link.key'));
  await assert.rejects(checkEncryptedFiles(directory), {
    code: 'encrypted_files',
    message: 'git-crypt has encrypted these files: .dot.key, config/b.json, deep/er/a.key, vault/d',
    hint: /sluice env set/,
  });
});

test('unlocked files, and apps without git-crypt, pass', async (t) => {
  await checkEncryptedFiles(
    await tree(t, { '.gitattributes': '*.key filter=git-crypt\n', 'a.key': 'unlocked' }),
  );
  await checkEncryptedFiles(await tree(t, { '.gitattributes': '*.psd filter=lfs\n', 'a.key': encrypted }));
  await checkEncryptedFiles(await tree(t, { 'a.key': encrypted }));
});

test('a search in the directories of a hostile app ends', async (t) => {
  const long = Array.from({ length: 99 }, (_, at) => `*${'a'.repeat(200)}b${at} filter=git-crypt\n`);
  const names = Array.from({ length: 20 }, (_, at) => `${'a'.repeat(220)}${at}`);
  const directory = await tree(t, {
    '.gitattributes': 'd/** filter=git-crypt\n',
    ...Object.fromEntries(
      ['a', 'b', 'c'].flatMap((place) => [
        [`${place}/.gitattributes`, `key filter=git-crypt\n${long.join('')}`],
        [`${place}/key`, encrypted],
        ...names.map((name) => [`${place}/${name}`, '']),
      ]),
    ),
    'd/key': encrypted,
  });
  // The work in one of the three directories is more than the limit for all.
  await assert.rejects(checkEncryptedFiles(directory), {
    message: /^git-crypt has encrypted these files: d\/key(?:, [abc]\/key)?$/,
  });
});
