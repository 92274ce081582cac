import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { matchesName } from '../../src/config/workspace-patterns.ts';
import {
  dependenciesAmong,
  findMembers,
  installDirectory,
  workspaceOf,
} from '../../src/config/workspaces.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { type Files, writeTree } from '../support/tree.ts';

async function treeOf(t: TestContext, files: Files): Promise<string> {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, files);
  return tree;
}

/** Packages of a repository, of which the patterns select some. */
const packages: Files = Object.fromEntries(
  [
    'apps/web',
    'apps/api',
    'apps/.hidden',
    'packages/ui',
    'packages/ui/node_modules/react',
    'packages/deep/er/lib',
    'packages/ui/test/fixture',
    'tools',
  ].map((path) => [`${path}/package.json`, { name: path }]),
);

const selections: [patterns: unknown, members: string[]][] = [
  [['apps/*'], ['apps/api', 'apps/web']],
  [
    ['./apps/*/', 'tools'],
    ['apps/api', 'apps/web', 'tools'],
  ],
  [{ packages: ['apps/web'], nohoist: ['**'] }, ['apps/web']],
  [['{apps,packages}/*'], ['apps/api', 'apps/web', 'packages/ui']],
  [['packages/**'], ['packages/deep/er/lib', 'packages/ui', 'packages/ui/test/fixture']],
  [
    ['**', '!**/test/**', '!apps/a?i'],
    ['apps/web', 'packages/deep/er/lib', 'packages/ui', 'tools'],
  ],
  [['packages/*/er/**/lib'], ['packages/deep/er/lib']],
  [
    ['apps/*', 'apps/*'],
    ['apps/api', 'apps/web'],
  ],
  [['../*', 'packages/../apps/*', 'missing/*', 'package.json', ''], []],
  [['.'], []],
  ['apps/*', []],
  [[1, null], []],
];

for (const [patterns, members] of selections) {
  test(`members of ${JSON.stringify(patterns)}`, async (t) => {
    const tree = await treeOf(t, { ...packages, 'package.json': { workspaces: patterns } });
    assert.deepEqual(
      (await findMembers(tree)).map(({ directory }) => directory),
      members,
    );
  });
}

test('pnpm-workspace.yaml names members, also without a package.json at the top', async (t) => {
  const yaml = '# apps\npackages:\n  - "apps/*"\n  - \'!apps/api\'\ncatalog:\n  ms: 2.1.3\n';
  const tree = await treeOf(t, { ...packages, 'pnpm-workspace.yaml': yaml });
  assert.deepEqual(
    (await findMembers(tree)).map(({ name }) => name),
    ['apps/web'],
  );
  await writeTree(tree, { 'pnpm-workspace.yaml': 'onlyBuiltDependencies:\n  - esbuild\n' });
  assert.deepEqual(await findMembers(tree), []);
  await writeTree(tree, { 'pnpm-workspace.yaml': 'packages: [' });
  await assert.rejects(findMembers(tree), {
    code: 'invalid_settings',
    message: /^pnpm-workspace\.yaml is not valid YAML: /,
  });
});

test('a search for members follows no links', async (t) => {
  const outside = await treeOf(t, packages);
  const tree = await treeOf(t, { 'package.json': { workspaces: ['apps/*', 'linked'] }, 'apps/x/y': '' });
  await symlink(join(outside, 'apps/web'), join(tree, 'apps/web'));
  await symlink(join(outside, 'tools'), join(tree, 'linked'));
  await symlink(join(outside, 'tools/package.json'), join(tree, 'apps/x/package.json'));
  assert.deepEqual(await findMembers(tree), []);
});

test('patterns of a hostile app end', async (t) => {
  const files = Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`a/${at}/b/c/package.json`, {}]));
  const tree = await treeOf(t, files);
  const rejected = { code: 'invalid_settings', message: /^the workspace cannot be searched: / };
  for (const pattern of ['**/*/**/*/**/*/**', '{a,b}'.repeat(40), '*'.repeat(300)]) {
    await writeTree(tree, { 'package.json': { workspaces: Array(150).fill(pattern) } });
    await assert.rejects(findMembers(tree), rejected);
  }
  assert.equal(matchesName(`${'*a'.repeat(60)}b`, 'a'.repeat(255)), false);
  // Long patterns cost more than short ones, whether they name members or exclude them.
  const names = Array.from({ length: 300 }, (_, at) => `n/${'a'.repeat(200)}${at}/package.json`);
  await writeTree(tree, Object.fromEntries(names.map((name) => [name, {}])));
  const long = Array.from({ length: 150 }, (_, at) => `n/*${'a'.repeat(100)}b${at}`);
  for (const workspaces of [long, ['n/*', ...long.map((pattern) => `!${pattern}`)]]) {
    await writeTree(tree, { 'package.json': { workspaces } });
    await assert.rejects(findMembers(tree), rejected);
  }
  await writeTree(tree, { 'package.json': { workspaces: ['n/*', '!n/*b'] } });
  assert.equal((await findMembers(tree)).length, 300);
});

test('a member is found in the nearest workspace that has it', async (t) => {
  const tree = await treeOf(t, {
    'package.json': { workspaces: ['apps/*'] },
    'apps/web/package.json': {},
    'apps/web/src/index.js': '',
    'front/package.json': { workspaces: ['sites/*'] },
    'front/sites/shop/package.json': {},
    'server/package.json': {},
    'docs/page.md': '',
  });
  const cases: [directory: string, workspace: string | undefined, install: string][] = [
    ['apps/web', '', ''],
    ['apps/web/src', undefined, ''],
    ['front/sites/shop', 'front', 'front'],
    ['front', undefined, 'front'],
    ['server', undefined, 'server'],
    ['docs', undefined, ''],
  ];
  for (const [directory, workspace, install] of cases) {
    assert.equal(await workspaceOf(tree, directory), workspace, directory);
    assert.equal(await installDirectory(tree, directory), install, directory);
  }
});

test('members that a member depends on precede it, also in a circle', async (t) => {
  const tree = await treeOf(t, {
    'package.json': { workspaces: ['*'] },
    'web/package.json': {
      name: 'web',
      dependencies: { ui: '*', react: '*' },
      devDependencies: { tool: '*' },
    },
    'ui/package.json': { name: 'ui', dependencies: { base: 'workspace:*' } },
    'base/package.json': { name: 'base', peerDependencies: { web: '*' } },
    'tool/package.json': { name: 'tool' },
    'other/package.json': { name: 'other' },
  });
  const members = await findMembers(tree);
  const web = members.find(({ name }) => name === 'web');
  assert.ok(web);
  const names = (time: 'run' | 'build') => dependenciesAmong(members, web, time).map(({ name }) => name);
  assert.deepEqual(names('run'), ['base', 'ui']);
  assert.deepEqual(names('build'), ['base', 'ui', 'tool']);
});
