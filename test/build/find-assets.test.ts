import assert from 'node:assert/strict';
import { mkdir, rename, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findAssets } from '../../src/build/find-assets.ts';
import { writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Files of a build, and those of them that pages load by a path that depends on their content. */
const builds: [what: string, assets: string[], others: string[]][] = [
  [
    'Next.js',
    ['.next/static/chunks/main.js', '.next/static/id/_buildManifest.js'],
    ['.next/BUILD_ID', '.next/server/a.js'],
  ],
  [
    'Nuxt',
    ['.output/public/_nuxt/entry.js', '.output/public/_nuxt/builds/meta/x.json'],
    ['.output/server/index.mjs'],
  ],
  [
    'SvelteKit',
    ['build/client/_app/immutable/entry/start.js'],
    ['build/client/_app/version.json', 'build/index.js'],
  ],
  ['Astro', ['dist/client/_astro/page.css'], ['dist/server/entry.mjs']],
  ['Vite', ['dist/assets/index-DiwrgTda.js'], ['dist/index.html', 'dist/assets/logo.png']],
  ['create-react-app', ['build/static/js/main.8c1b2a3d.js'], ['build/index.html', 'build/static/logo.png']],
  [
    'a member of a workspace',
    ['apps/web/.next/static/a.js', 'client/dist/assets/a-DiwrgTda.js'],
    ['client/dist/a-DiwrgTda.js'],
  ],
  ['no build', [], ['server.js', 'node_modules/a/dist/assets/index-DiwrgTda.js', 'lib/main.8c1b2a3d.js']],
];

test('the hashed files of a build', async (t) => {
  for (const [what, assets, others] of builds) {
    await t.test(what, async (t) => {
      const tree = await temporaryDirectory(t);
      await writeTree(tree, Object.fromEntries([...assets, ...others].map((path) => [path, ''])));
      assert.deepEqual((await findAssets(tree, { assets: [], site: undefined })).sort(), assets.sort());
    });
  }
});

test('directories that the setting names, and the hashed files of a static site', async (t) => {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, {
    'public/bundle/a.js': '',
    'www/main-7V6NPQ5K.js': '',
    'www/index.html': '',
    'www/node_modules/b-7V6NPQ5K.js': '',
    'www/.git/c-7V6NPQ5K.js': '',
  });
  const found = await findAssets(tree, {
    assets: ['public/bundle', 'missing', 'public/bundle/a.js'],
    site: 'www',
  });
  assert.deepEqual(found.sort(), ['public/bundle/a.js', 'www/main-7V6NPQ5K.js']);
});

test('files behind links are left alone', async (t) => {
  const directory = await temporaryDirectory(t);
  const tree = join(directory, 'tree');
  await writeTree(directory, { 'outside/assets/index-DiwrgTda.js': 'x', 'outside/a-DiwrgTda.js': 'x' });
  await mkdir(join(tree, 'build/static'), { recursive: true });
  await symlink('../outside', join(tree, 'dist'));
  await symlink('../../../outside', join(tree, 'build/static/link'));
  await symlink('../../../outside/a-DiwrgTda.js', join(tree, 'build/static/a-DiwrgTda.js'));
  assert.deepEqual(await findAssets(tree, { assets: ['dist'], site: 'dist' }), []);
  await rename(join(directory, 'outside'), join(directory, 'moved'));
  assert.deepEqual(await findAssets(tree, { assets: ['dist'], site: 'dist' }), []);
});
