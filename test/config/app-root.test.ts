import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { releaseSettings } from '../../src/config/app-directory.ts';
import { rootOf } from '../../src/config/app-root.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { type Files, writeTree } from '../support/tree.ts';

async function treeOf(t: TestContext, files: Files): Promise<string> {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, files);
  return tree;
}

const workspace: Files = {
  'package.json': { workspaces: ['apps/*'] },
  'apps/web/package.json': { name: 'web' },
  'apps/web/sluice.json': { workers: 3, shared: ['uploads', 'data/shop.db'] },
  'tools/x.js': '',
};

test('"root" with a member of a workspace makes the workspace the release', async (t) => {
  const tree = await treeOf(t, {
    ...workspace,
    'sluice.json': { root: { shop: 'apps/web', tools: 'tools' } },
  });
  assert.deepEqual(await rootOf(tree, 'shop'), { root: '', member: 'apps/web' });
  assert.deepEqual(await rootOf(tree, 'tools'), { root: 'tools', member: '' });
  const { workers, directory, shared } = (await releaseSettings(tree, 'apps/web')).settings;
  assert.deepEqual(
    { workers, directory, shared },
    { workers: 3, directory: 'apps/web', shared: ['apps/web/uploads', 'apps/web/data/shop.db'] },
  );
});

test('"root" finds a workspace that is not at the top of the repository', async (t) => {
  const inFront = Object.entries(workspace).map(([path, content]) => [`front/${path}`, content]);
  const tree = await treeOf(t, { ...Object.fromEntries(inFront), 'sluice.json': { root: 'front/apps/web' } });
  assert.deepEqual(await rootOf(tree, 'shop'), { root: 'front', member: 'apps/web' });
});

test('"directory" is relative to the release, and the settings at the top count', async (t) => {
  const tree = await treeOf(t, {
    ...workspace,
    'sluice.json': { directory: 'apps/web', shared: ['uploads'] },
  });
  assert.deepEqual(await rootOf(tree, 'shop'), { root: '', member: '' });
  const { workers, directory, shared } = (await releaseSettings(tree, '')).settings;
  assert.deepEqual(
    { workers, directory, shared },
    { workers: 'auto', directory: 'apps/web', shared: ['apps/web/uploads'] },
  );
});

test('a wrong "directory" is rejected with the reason', async (t) => {
  const cases: [directory: string, message: RegExp][] = [
    ['missing', /^"directory" is missing, but there is no such directory$/],
    ['tools/x.js', /no such directory/],
    ['linked', /no such directory/],
    ['linked/web', /no such directory/],
    ['../up', /directory: expected a path inside the release/],
  ];
  for (const [directory, message] of cases) {
    const tree = await treeOf(t, { ...workspace, 'sluice.json': { directory } });
    await symlink('apps', join(tree, 'linked'));
    await assert.rejects(releaseSettings(tree, ''), { code: 'invalid_settings', message });
  }
  const tree = await treeOf(t, { ...workspace, 'apps/web/sluice.json': { directory: 'src' } });
  await assert.rejects(releaseSettings(tree, 'apps/web'), {
    code: 'invalid_settings',
    message: 'apps/web has "directory" in its settings, but "root" names apps/web',
  });
});
