import assert from 'node:assert/strict';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readNodeRequests } from '../../../src/build/node-version/requests.ts';
import { writeTree } from '../../support/builds.ts';
import { failOpen } from '../../support/failing-open.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function requestsOf(
  t: TestContext,
  files: Record<string, unknown>,
  { node, directory = '' }: { node?: string; directory?: string } = {},
): Promise<string[]> {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, files);
  return (await readNodeRequests(tree, { node, directory })).map(({ from, text }) => `${from}: ${text}`);
}

test('an app can ask for its Node.js in seven places, in this order of precedence', async (t) => {
  const files = {
    'package.json': {
      engines: { node: '>=4' },
      devEngines: { runtime: [{ name: 'bun' }, { name: 'node', version: '>=5' }] },
      volta: { node: '3.0.0' },
    },
    '.tool-versions': 'ruby 3.3.0\nnodejs 2.0.0 system\n',
    '.node-version': 'v1.0.0\n',
    '.nvmrc': '# for nvm\r\n\r\nlts/iron # the line\r\n',
  };
  assert.deepEqual(await requestsOf(t, files, { node: '22' }), [
    'the setting "node": 22',
    '.nvmrc: lts/iron',
    '.node-version: v1.0.0',
    '.tool-versions: 2.0.0',
    '"volta" in package.json: 3.0.0',
    '"engines" in package.json: >=4',
    '"devEngines" in package.json: >=5',
  ]);
});

test('an app without package.json or version files asks for nothing', async (t) => {
  assert.deepEqual(await requestsOf(t, {}), []);
  assert.deepEqual(await requestsOf(t, { '.nvmrc': '\n', '.tool-versions': 'ruby 3.3.0\n' }), []);
});

test('a member of a workspace comes before the top', async (t) => {
  const files = { '.nvmrc': '22', 'web/package.json': { engines: { node: '>=20' } }, 'other/.nvmrc': '18' };
  assert.deepEqual(await requestsOf(t, files, { directory: 'web' }), [
    '"engines" in package.json: >=20',
    '.nvmrc in the workspace root: 22',
  ]);
});

test('packages that fail on newer versions are found where the app is installed', async (t) => {
  const lockfile = { packages: { 'node_modules/better-sqlite3': { version: '9.0.0' } } };
  const found = ['better-sqlite3 9.0.0 in package-lock.json: <22'];
  const own = { 'package.json': {}, 'server/package.json': {}, 'server/package-lock.json': lockfile };
  assert.deepEqual(await requestsOf(t, own, { directory: 'server' }), found);
  const shared = {
    ...{ 'package.json': { workspaces: ['server'] }, 'package-lock.json': lockfile },
    ...{ 'server/package.json': {}, 'server/package-lock.json': {} },
  };
  assert.deepEqual(await requestsOf(t, shared, { directory: 'server' }), found);
});

test('values of other types are ignored', async (t) => {
  const manifests = [
    { engines: ['node >= 4'], volta: 20, devEngines: { runtime: 'node' } },
    { engines: { npm: '5' }, volta: { node: 20 }, devEngines: { runtime: { name: 'deno', version: '2' } } },
    {
      engines: { node: 20 },
      volta: { extends: '../package.json' },
      devEngines: { runtime: { name: 'node' } },
    },
  ];
  for (const manifest of manifests) assert.deepEqual(await requestsOf(t, { 'package.json': manifest }), []);
});

test('a version file that is a directory, is too large, or is a link out of the app counts as missing', async (t) => {
  const directory = await temporaryDirectory(t);
  const outside = join(await temporaryDirectory(t), 'version');
  await writeFile(outside, '20');
  await writeTree(directory, { '.nvmrc/file': '20', '.tool-versions': `nodejs 20\n${'#'.repeat(10_000)}` });
  await symlink(outside, join(directory, '.node-version'));
  assert.deepEqual(await readNodeRequests(directory, { node: undefined, directory: '' }), []);
});

for (const name of ['.nvmrc', 'package-lock.json']) {
  test(`the choice of Node.js fails if ${name} cannot be opened for lack of descriptors`, async (t) => {
    failOpen(t, new RegExp(`/${name}$`));
    await assert.rejects(requestsOf(t, { 'package.json': {}, [name]: '20' }), { code: 'EMFILE' });
  });
}
