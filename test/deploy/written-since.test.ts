import assert from 'node:assert/strict';
import { symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { writtenSince } from '../../src/apps/left-behind.ts';
import { writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const longAgo = new Date('2001-01-01');

test('new files are found by their top-level path, without packages and records of Sluice', async (t) => {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, {
    'server.js': 'old',
    'lib/old.js': 'old',
    'todo.db-wal': '',
    'uploads/deep/cat.png': '',
    'uploads/dog.png': '',
    'node_modules/x/cache': '',
    '.sluice/build.log': '',
    'data/shop.db-shm': '',
  });
  for (const old of ['server.js', 'lib/old.js']) await utimes(join(tree, old), longAgo, longAgo);
  await writeTree(`${tree}-elsewhere`, { x: '' });
  await symlink(`${tree}-elsewhere`, join(tree, 'linked'));
  const since = new Date('2002-01-01');
  assert.deepEqual((await writtenSince(tree, since, ['data/shop.db'])).sort(), ['todo.db', 'uploads/']);
  assert.deepEqual(await writtenSince(tree, new Date(Date.now() + 60_000), []), []);
});

test('the search stops at its limits in a tree of any size', async (t) => {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, { 'a/b/c': '', 'd/e/f': '' });
  assert.deepEqual(await writtenSince(tree, longAgo, [], '', { entries: 4, milliseconds: 60_000 }), []);
  assert.deepEqual(await writtenSince(tree, longAgo, [], '', { entries: 60_000, milliseconds: -1 }), []);
  assert.deepEqual(await writtenSince(join(tree, 'gone'), longAgo, []), []);
});
