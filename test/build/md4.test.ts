import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { findUserOfMd4 } from '../../src/build/md4.ts';
import { readManifest } from '../../src/config/package-manifest.ts';
import { runBuild, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const npm = (path: string, version: string) => ({
  'package-lock.json': `{ "packages": { "node_modules/${path}": {\n "version": "${version}" } } }`,
});

const apps: Record<string, { files: Record<string, unknown>; user: string | null }> = {
  'webpack 4': { files: npm('webpack', '4.46.0'), user: 'webpack 4.46.0 in package-lock.json' },
  'a nested webpack 5': {
    files: npm('x/node_modules/webpack', '5.60.0'),
    user: 'webpack 5.60.0 in package-lock.json',
  },
  'webpack 4 in a lockfile of yarn': {
    files: { 'yarn.lock': '# yarn lockfile v1\n\n\nwebpack@^4.0.0:\n  version "4.44.2"\n' },
    user: 'webpack 4.44.2 in yarn.lock',
  },
  'react-scripts 4 without a lockfile': {
    files: { 'package.json': { dependencies: { 'react-scripts': '^4.0.1' } } },
    user: 'react-scripts ^4.0.1 in package.json',
  },
  'the last webpack 4': { files: npm('webpack', '4.47.0'), user: null },
  'a webpack that needs no MD4': { files: npm('webpack', '5.61.0'), user: null },
  'webpack 3': { files: npm('webpack', '3.12.0'), user: null },
  'a range that the last webpack 4 satisfies': {
    files: { 'package.json': { dependencies: { webpack: '^4.0.0' } } },
    user: null,
  },
  'a dependency that is not a version': {
    files: { 'package.json': { dependencies: { webpack: 'github:webpack/webpack#4' } } },
    user: null,
  },
};

for (const [title, { files, user }] of Object.entries(apps)) {
  test(`${user === null ? 'no package' : 'a package'} is known to hash with MD4: ${title}`, async (t) => {
    const directory = await tree(t, files);
    const manifest = await readManifest(directory);
    assert.ok(manifest);
    assert.equal(await findUserOfMd4(directory, manifest), user);
  });
}

test('a build hashes with MD4 if a package is known to need it, and keeps the options of the app', async (t) => {
  const build = `console.log(require('crypto').createHash('md4').update('a').digest('hex'), process.title)`;
  const files = {
    'package.json': { scripts: { build: 'node build.cjs' } },
    'build.cjs': build,
    ...npm('webpack', '4.46.0'),
  };
  const options = { env: { NODE_OPTIONS: '--title=own' } };
  const { lines } = await runBuild(await tree(t, files), options);
  assert.ok(lines.includes('bde52cb31de33e46245e05fbdbd6fb24 own'), lines.join('\n'));
  const without = await tree(t, { ...files, ...npm('webpack', '4.47.0') });
  await assert.rejects(runBuild(without, options), /the app uses MD4/);
});

async function tree(t: TestContext, files: Record<string, unknown>): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': {}, ...files });
  return directory;
}
