import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { prune } from '../../../src/build/prune/prune.ts';
import { argumentsOf, removeDevPackages } from '../../../src/build/prune/remove.ts';
import { appSettings } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { readTree, writeTree } from '../../support/tree.ts';

type Fields = Record<string, unknown>;

interface Case {
  /** package.json of the app */
  app?: Fields;
  /** package.json of installed packages and of members, by directory */
  packages: Record<string, Fields>;
  /** further files */
  files?: Record<string, string>;
  /** target by link */
  links?: Record<string, string>;
  members?: string[] | null;
  programs?: string[];
  named?: string[];
  prefixes?: string[];
}

/** Prunes the tree of a case. @returns the paths that are gone, without those inside others, and what stays by name */
async function pruned(t: TestContext, { app = {}, packages, files = {}, links = {}, ...rest }: Case) {
  const root = await temporaryDirectory(t);
  const manifests = Object.entries(packages).map(([path, fields]) => [
    `${path}/package.json`,
    { name: path.replace(/^.*node_modules\//, ''), version: '1.0.0', ...fields },
  ]);
  await writeTree(root, { 'package.json': app, ...Object.fromEntries(manifests), ...files });
  for (const [path, target] of Object.entries(links)) {
    await mkdir(join(root, dirname(path)), { recursive: true });
    await symlink(target, join(root, path));
  }
  const before = await readTree(root);
  const { members = null, programs = [], named = [], prefixes = [] } = rest;
  const { kept } = await removeDevPackages({ root, members, programs, packages: named, prefixes });
  const after = await readTree(root);
  for (const [path, content] of Object.entries(after)) assert.equal(content, before[path], path);
  const gone = Object.keys(before).filter((path) => !(path in after));
  return { gone: gone.filter((path) => !gone.includes(dirname(path))), kept };
}

const cases: Record<string, Case & { gone: string[]; kept?: string[] }> = {
  'dev dependencies and their dependencies go': {
    app: { dependencies: { a: '1' }, devDependencies: { d: '1', '@s/d': '1' } },
    packages: {
      'node_modules/a': { dependencies: { b: '1' } },
      'node_modules/b': {},
      'node_modules/d': { dependencies: { b: '1', e: '1' }, devDependencies: { a: '1' } },
      'node_modules/e': {},
      'node_modules/@s/d': {},
    },
    gone: ['node_modules/@s', 'node_modules/d', 'node_modules/e'],
  },
  'optional and peer dependencies stay': {
    app: { dependencies: { a: '1' }, optionalDependencies: { o: '1' }, devDependencies: { p: '1', o: '1' } },
    packages: {
      'node_modules/a': { peerDependencies: { p: '*' }, optionalDependencies: { missing: '1' } },
      'node_modules/o': {},
      'node_modules/p': {},
    },
    gone: [],
  },
  'the nearest version counts': {
    app: { dependencies: { a: '1' }, devDependencies: { b: '2', c: '1' } },
    packages: {
      'node_modules/a': { dependencies: { b: '1' } },
      'node_modules/a/node_modules/b': {},
      'node_modules/b': { dependencies: { c: '1' } },
      'node_modules/c': {},
    },
    gone: ['node_modules/b', 'node_modules/c'],
  },
  'a cycle ends': {
    app: { dependencies: { a: '1' }, devDependencies: { d: '1' } },
    packages: {
      'node_modules/a': { dependencies: { b: '1' } },
      'node_modules/b': { dependencies: { a: '1' } },
      'node_modules/d': { dependencies: { d2: '1', a: '1' } },
      'node_modules/d2': { dependencies: { d: '1' } },
    },
    gone: ['node_modules/d', 'node_modules/d2'],
  },
  'packages that no manager has installed stay': {
    app: { devDependencies: { d: '1' } },
    packages: { 'node_modules/d': {}, 'node_modules/@generated/client': {} },
    files: { 'node_modules/.prisma/client/index.js': '', 'node_modules/.cache/x': '' },
    gone: ['node_modules/d'],
  },
  'links of programs go with their package': {
    app: { dependencies: { a: '1' }, devDependencies: { d: '1' } },
    packages: { 'node_modules/a': { bin: { a: 'a.js' } }, 'node_modules/d': { bin: { d: 'd.js' } } },
    files: {
      'node_modules/a/a.js': '',
      'node_modules/d/d.js': '',
      'node_modules/.bin/d-of-pnpm': '#!/bin/sh\nexec node  "$basedir/../d/d.js" "$@"\n',
      'node_modules/.bin/a-of-pnpm': '#!/bin/sh\nexec node  "$basedir/../a/a.js" "$@"\n',
    },
    links: { 'node_modules/.bin/a': '../a/a.js', 'node_modules/.bin/d': '../d/d.js' },
    gone: ['node_modules/.bin/d', 'node_modules/.bin/d-of-pnpm', 'node_modules/d'],
  },
  'slots of a store go with their package; a slot names what its package gets': {
    app: { dependencies: { a: '1' }, devDependencies: { d: '1', extra: '1' } },
    packages: {
      'node_modules/.pnpm/a@1/node_modules/a': {},
      'node_modules/.pnpm/extra@1/node_modules/extra': {},
      'node_modules/.pnpm/d@1/node_modules/d': {},
    },
    links: {
      'node_modules/a': '.pnpm/a@1/node_modules/a',
      'node_modules/d': '.pnpm/d@1/node_modules/d',
      'node_modules/extra': '.pnpm/extra@1/node_modules/extra',
      // As by "packageExtensions": the package does not declare the dependency.
      'node_modules/.pnpm/a@1/node_modules/extra': '../../extra@1/node_modules/extra',
      'node_modules/.pnpm/node_modules/d': '../d@1/node_modules/d',
    },
    gone: ['node_modules/.pnpm/d@1', 'node_modules/.pnpm/node_modules', 'node_modules/d'],
  },
  'members of a workspace keep their dependencies and lose their dev dependencies': {
    app: { workspaces: ['packages/*'], devDependencies: { d: '1' } },
    packages: {
      'packages/web': { dependencies: { a: '1', lib: '1' }, devDependencies: { w: '1' } },
      'packages/lib': { dependencies: { b: '1' }, devDependencies: { d: '1' } },
      'packages/unlinked': { dependencies: { u: '1' }, devDependencies: { v: '1' } },
      'packages/unlinked/node_modules/u': {},
      'packages/unlinked/node_modules/v': {},
      'packages/web/node_modules/w': {},
      'node_modules/a': {},
      'node_modules/b': {},
      'node_modules/d': {},
    },
    links: { 'node_modules/web': '../packages/web', 'node_modules/lib': '../packages/lib' },
    members: ['packages/unlinked'],
    gone: ['node_modules/d', 'packages/unlinked/node_modules/v', 'packages/web/node_modules'],
  },
  'a directory of the app stays, and the link of a dev dependency to it goes': {
    app: { dependencies: { native: 'file:native' }, devDependencies: { tool: 'file:tool' } },
    packages: {
      native: { devDependencies: { n: '1' } },
      tool: { dependencies: { t: '1' } },
      'node_modules/n': {},
      'node_modules/t': {},
    },
    files: { 'native/build/addon.node': 'built' },
    links: { 'node_modules/native': '../native', 'node_modules/tool': '../tool' },
    gone: ['node_modules/n', 'node_modules/t', 'node_modules/tool'],
  },
  'a package whose program a command names stays, with its dependencies': {
    app: {
      dependencies: { a: '1' },
      devDependencies: { d: '1', same: '1', e: '1', '@types/x': '1', ts: '1' },
    },
    packages: {
      'node_modules/a': { bin: { a: 'a.js' } },
      'node_modules/d': { bin: './d.js', dependencies: { f: '1' } },
      'node_modules/same': { bin: { a: 'a.js' } },
      'node_modules/e': {},
      'node_modules/f': {},
      'node_modules/@types/x': {},
      'node_modules/ts': {},
    },
    programs: ['a', 'd', 'node'],
    named: ['ts'],
    prefixes: ['@types/'],
    gone: ['node_modules/e', 'node_modules/same'],
    kept: ['d', 'ts'],
  },
  'a dependency that only yarn.lock names stays': {
    app: { dependencies: { a: '1' }, devDependencies: { extra: '1', d: '1' } },
    packages: { 'node_modules/a': {}, 'node_modules/extra': {}, 'node_modules/d': {} },
    files: {
      'yarn.lock': [
        '__metadata:\n  version: 8\n',
        '"a@npm:1, a@npm:^1":\n  version: 1.0.0\n  dependencies:\n    extra: "npm:1"\n  checksum: 1\n',
        '"app@workspace:.":\n  version: 0.0.0-use.local\n  dependencies:\n    d: "npm:1"\n',
      ].join('\n'),
    },
    gone: ['node_modules/d'],
  },
  'names and links that lead out of the release are left alone': {
    app: { dependencies: { a: '1' }, devDependencies: { '../../etc': '1', '..': '1', out: '1', d: '1' } },
    packages: { 'node_modules/a': {}, 'node_modules/d': {} },
    links: { 'node_modules/out': '/usr/lib', 'node_modules/loop': 'loop' },
    gone: ['node_modules/d'],
  },
  'a package.json that is not valid has no dependencies': {
    app: { devDependencies: { d: '1' } },
    packages: {},
    files: { 'node_modules/d/package.json': '[' },
    gone: ['node_modules'],
  },
};

for (const [title, { gone, kept = [], ...input }] of Object.entries(cases)) {
  test(`prune: ${title}`, async (t) => {
    const result = await pruned(t, input);
    assert.deepEqual({ ...result, gone: result.gone.sort() }, { gone, kept });
  });
}

test('a request of any length reaches the program', async (t) => {
  const root = await temporaryDirectory(t);
  const modules = { 'node_modules/d/package.json': {}, 'node_modules/ü/package.json': {} };
  await writeTree(root, { 'package.json': { devDependencies: { d: '1', ü: '1' } }, ...modules });
  const members = Array.from({ length: 40_000 }, (_, at) => `packages/${(at * 2_654_435_761) % 2 ** 32}`);
  const request = { root, members, programs: [], packages: ['ü'], prefixes: [] };
  const args = argumentsOf(request);
  assert.ok(args.length > 1 && args.every(({ length }) => length < 128 * 1024));
  const program = join(import.meta.dirname, '../../../src/build/prune/remove.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
  assert.equal(stdout, 'removed 1 package that only devDependencies need\nkeeps ü\n');
});

test('a program stays that a script of a member needs in a hook', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, {
    'package.json': { workspaces: ['packages/*'] },
    'packages/db/package.json': {
      scripts: { migrate: 'prisma migrate deploy' },
      devDependencies: { prisma: '1', rollup: '1' },
    },
    'node_modules/prisma/package.json': { name: 'prisma', bin: 'index.js' },
    'node_modules/rollup/package.json': { name: 'rollup', bin: 'index.js' },
  });
  const run = async (_purpose: string, { argv: [program, ...args] }: { argv: string[] }) => {
    const { stdout } = await promisify(execFile)(program as string, args);
    return stdout.split('\n');
  };
  const notices: string[] = [];
  const context = {
    ...{ directory, settings: appSettings({ hooks: { preSwitch: 'npm -w db run migrate' } }) },
    ...{ step: () => undefined, notice: ({ message }: { message: string }) => notices.push(message) },
  };
  await prune(context as never, { at: '', members: ['packages/db'] }, { run } as never);
  assert.match(notices.join(), /: prisma$/);
  assert.deepEqual(Object.keys(await readTree(join(directory, 'node_modules'))), [
    'prisma',
    'prisma/package.json',
  ]);
});
