import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { linkAssets } from '../../src/apps/link-assets.ts';
import { writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('files of earlier releases are linked where the new release has nothing', async (t) => {
  const directory = await temporaryDirectory(t);
  const [releases, tree] = [join(directory, 'releases'), join(directory, 'staging/3')];
  await writeTree(releases, {
    '1/a/old.js': '1',
    '1/a/b/c.js': '1',
    '1/a/same.js': '1',
    '2/a/old.js': '2',
    '2/a/x': '2',
  });
  await writeTree(tree, { 'a/same.js': '3' });
  await chmod(join(releases, '2/a/old.js'), 0o755);
  const files = ['2/a/old.js', '2/a/gone.js', '1/a/old.js', '1/a/b/c.js', '1/a/same.js'];
  assert.deepEqual(await linkAssets(tree, releases, files), { linked: 2, refused: 0, code: null });
  const read = (path: string) => readFile(join(tree, path), 'utf8');
  assert.deepEqual(await Promise.all(['a/old.js', 'a/b/c.js', 'a/same.js'].map(read)), ['2', '1', '3']);
  const [old, source, same] = await Promise.all(
    [join(tree, 'a/old.js'), join(releases, '2/a/old.js'), join(tree, 'a/same.js')].map((path) =>
      lstat(path),
    ),
  );
  assert.deepEqual([old?.ino, (old?.mode ?? 0) & 0o777], [source?.ino, 0o555]);
  assert.notEqual((same?.mode ?? 0) & 0o200, 0);
});

test('no file is linked through a link, and no link is', async (t) => {
  const directory = await temporaryDirectory(t);
  const [releases, tree] = [join(directory, 'releases'), join(directory, 'staging/2')];
  await writeTree(directory, {
    'releases/1/a/b/x.js': '',
    'releases/1/f/x.js': '',
    secret: '',
    'elsewhere/keep': '',
  });
  await symlink('../../../secret', join(releases, '1/a/link.js'));
  await writeTree(tree, { f: 'a file' });
  await mkdir(join(tree, 'a'));
  await symlink(join(directory, 'elsewhere'), join(tree, 'a/b'));
  const { linked, refused } = await linkAssets(tree, releases, ['1/a/b/x.js', '1/a/link.js', '1/f/x.js']);
  assert.deepEqual([linked, refused], [0, 0]);
  assert.deepEqual(await readdir(join(directory, 'elsewhere')), ['keep']);
  assert.deepEqual(await readdir(join(tree, 'a')), ['b']);
});
