import assert from 'node:assert/strict';
import { lstat, mkdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { linkShared } from '../../src/apps/shared-paths.ts';
import { loadAppSettings, topOf } from '../../src/config/app-settings.ts';
import { writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

async function treeWith(directory: string, files: Record<string, unknown>) {
  const [tree, shared] = [join(directory, 'releases/1'), join(directory, 'shared')];
  await mkdir(tree, { recursive: true });
  await writeTree(tree, files);
  return { tree, shared };
}

for (const paths of [['.'], ['./'], ['./.sluice'], ['.sluice/x'], ['a\0b'], ['a/..'], ['/etc'], ['']]) {
  test(`the shared path ${JSON.stringify(paths[0])} is refused, because it is not inside the release`, async (t) => {
    const tree = await temporaryDirectory(t);
    await writeTree(tree, { 'sluice.json': { shared: paths } });
    await assert.rejects(loadAppSettings(topOf(tree)), {
      code: 'invalid_settings',
      message: /shared\.0: expected a path inside the release/,
    });
  });
}

for (const paths of [
  ['data', 'data/uploads'],
  ['data/uploads', './data/'],
  ['data', 'data'],
]) {
  test(`nested shared paths are refused: ${paths.join(' and ')}`, async (t) => {
    const tree = await temporaryDirectory(t);
    await writeTree(tree, { 'sluice.json': { shared: paths } });
    await assert.rejects(loadAppSettings(topOf(tree)), {
      code: 'invalid_settings',
      message: /not inside each other/,
    });
  });
}

test('shared paths are normalized', async (t) => {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, { 'sluice.json': { shared: ['./data//x/', 'database', '.sluice-uploads'] } });
  assert.deepEqual((await loadAppSettings(topOf(tree))).shared, ['data/x', 'database', '.sluice-uploads']);
});

test('a shared path behind a link or a file is refused, and nothing there changes', async (t) => {
  const directory = await temporaryDirectory(t);
  const { tree, shared } = await treeWith(directory, { 'server.js': '1' });
  await writeTree(directory, { 'elsewhere/x': 'precious', 'shared/data/x': 'shared' });
  await symlink(join(directory, 'elsewhere'), join(tree, 'data'));
  for (const path of ['data/x', 'server.js/x']) {
    await assert.rejects(linkShared(tree, shared, [path]), { code: 'invalid_settings' });
  }
  assert.equal(await readFile(join(directory, 'elsewhere/x'), 'utf8'), 'precious');
});

test('a link that a release brings does not become shared data', async (t) => {
  const { tree, shared } = await treeWith(await temporaryDirectory(t), { 'public/uploads/logo': 'logo' });
  await symlink('public/uploads', join(tree, 'uploads'));
  await linkShared(tree, shared, ['uploads']);
  assert.ok((await lstat(join(shared, 'uploads'))).isDirectory());
});
