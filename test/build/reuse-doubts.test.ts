// biome-ignore-all lint/suspicious/noTemplateCurlyInString: settings of npm name variables in this way.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { planBuild } from '../../src/build/build-plan.ts';
import type { BuildContext } from '../../src/build/context.ts';
import type { PreparedManager } from '../../src/build/install/prepare.ts';
import { restoreCommand } from '../../src/build/reuse/commands.ts';
import { doubtOfManifest, doubtOfSettings } from '../../src/build/reuse/facts.ts';
import { installPackages } from '../../src/build/reuse/packages.ts';
import { exists } from '../../src/system/fs/exists.ts';
import { appSettings, writeTree } from '../support/builds.ts';
import { runJob } from '../support/jobs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

interface Release {
  files?: Record<string, unknown>;
  manifest?: object;
  env?: Record<string, string>;
  /** what the package manager writes */
  installed?: Record<string, unknown>;
  /** links that the package manager writes */
  links?: Record<string, string>;
  runJob?: BuildContext['runJob'];
}

const lockfile = { 'package-lock.json': { lockfileVersion: 3, packages: {} } };

/** An app whose package manager is a function of the test. */
async function createApp(t: TestContext, common: Record<string, unknown> = lockfile) {
  const root = await temporaryDirectory(t);
  const tree = (release: number) => join(root, 'staging', String(release));
  const install = async (release: number, changes: Release = {}) => {
    const directory = tree(release);
    const { files = {}, manifest = {}, env = {}, installed, links = {} } = changes;
    const fields = { name: 'app', version: '1.0.0', dependencies: { ms: '2.1.3' }, ...manifest };
    await writeTree(directory, { 'package.json': fields, ...common, ...files });
    const [lines, ran]: [string[], string[]] = [[], []];
    const [record, kept] = [join(root, 'packages.json'), join(root, 'cache/packages')];
    const context: BuildContext = {
      ...{ directory, about: {}, tools: join(root, 'tools'), cache: join(root, 'cache') },
      ...{ settings: appSettings(), node: process.execPath, nodeVersion: '26.0.0', secrets: [] },
      ...{
        user: 'shop',
        isolated: false,
        runJob: changes.runJob ?? runJob,
        step: () => {},
        notice: () => {},
      },
      ...{ log: (line) => lines.push(line), signal: new AbortController().signal },
      env: { HOME: join(root, 'home'), npm_config_userconfig: '', NPM_CONFIG_USERCONFIG: '', ...env },
      packageStore: { record, directory: kept, release, isIgnored: false, space: async () => 1024 ** 3 },
    };
    const plan = await planBuild(directory, context.settings);
    assert.ok(plan !== undefined);
    const manager = {
      ...{
        program: plan.packageManager.manager,
        version: plan.packageManager.manager === 'npm' ? '11.0.0' : '1.22.22',
      },
      ...{ install: ['install'], script: ['run'], commandEnv: { ...env, config: join(directory, '.npmrc') } },
      run: async (_purpose: string, [, name = '']: string[]) => {
        ran.push(name);
        return [];
      },
    } as unknown as PreparedManager;
    const run = async () => {
      assert.ok(!(await exists(join(directory, 'node_modules/ms'))), 'an install begins without packages');
      await writeTree(directory, installed ?? { 'node_modules/ms/index.js': '' });
      for (const [path, target] of Object.entries(links)) await symlink(target, join(directory, path));
      return [];
    };
    await installPackages({ context, plan, manager, prune: undefined, run });
    const doubt = lines.find((line) => line.startsWith('packages are not kept for the next deploy: '));
    return {
      ...{ lines, ran, doubt: doubt?.replace(/^.*?: /, '') },
      isReused: lines.some((line) => line.startsWith('packages as in release')),
    };
  };
  return { root, tree, install };
}

test('a copy of packages that was cut off leaves nothing for the install', async (t) => {
  const { install, tree } = await createApp(t);
  await install(1);
  const { isReused, lines } = await install(2, {
    runJob: (job, ...others) => {
      const cut = 'mkdir -p node_modules/ms && kill -9 $$';
      const argv = job.argv.map((each) => (each === restoreCommand ? cut : each)) as typeof job.argv;
      return runJob({ ...job, argv }, ...others);
    },
  });
  assert.ok(!isReused, lines.join('\n'));
  assert.ok(await exists(join(tree(2), 'node_modules/ms/index.js')));
  assert.ok((await install(3)).isReused);
});

test('programs of pnpm search packages in their own release', async (t) => {
  const { install, tree } = await createApp(t);
  const program = (release: number) => `NODE_PATH="${tree(release)}/node_modules:${tree(release)}0/x"\n`;
  await install(1, {
    installed: { 'node_modules/ms/index.js': '', 'node_modules/.bin/ms': program(1) },
  });
  await rm(tree(1), { recursive: true });
  assert.ok((await install(2)).isReused);
  const expected = program(2).replace(`${tree(2)}0/x`, `${tree(1)}0/x`);
  assert.equal(await readFile(join(tree(2), 'node_modules/.bin/ms'), 'utf8'), expected);
});

const elsewhere = 'the install has packages outside of node_modules of the app';
const module = { 'node_modules/ms/index.js': '' };
const prisma = {
  ...module,
  'node_modules/@prisma/client/package.json': {
    ...{ name: '@prisma/client', scripts: { postinstall: 'node scripts/postinstall.js' } },
  },
};

test('packages are not kept if they, or what they depend on, lie elsewhere', async (t) => {
  const { install } = await createApp(t);
  const doubts: [string, Release][] = [
    [elsewhere, { installed: { '.pnpm/ms/node_modules/ms/index.js': '' } }],
    [elsewhere, { installed: { ...module, 'packages/a/node_modules/ms/index.js': '' } }],
    [
      elsewhere,
      { installed: { ...module, 'vendor/a/index.js': '' }, links: { 'node_modules/a': '../vendor/a' } },
    ],
    [elsewhere, { installed: module, links: { 'node_modules/a': '/usr/share' } }],
    [
      'Prisma may generate files outside of node_modules',
      { installed: prisma, files: { 'prisma/schema.prisma': 'generator client {\n  output = "../src"\n}' } },
    ],
    ...['prisma-erd-generator', 'zod-prisma-types', './generator.js'].map((provider): [string, Release] => [
      'Prisma may generate files outside of node_modules',
      { installed: prisma, files: { 'schema.prisma': `generator a {\n  provider = "${provider}"\n}` } },
    ]),
    [
      'prisma.config.mts has settings of Prisma',
      { installed: prisma, files: { 'prisma.config.mts': 'export default {}' } },
    ],
  ];
  for (const [number, [reason, release]] of doubts.entries())
    assert.equal((await install(number + 1, release)).doubt, reason);
  assert.equal(
    (await install(20, { installed: module, links: { 'node_modules/a': 'ms' } })).doubt,
    undefined,
  );
  const schema =
    'generator client {\n  provider = "prisma-client-js"\n}\ndatasource db {\n  provider = "postgresql"\n}';
  const files = { 'prisma/schema.prisma': schema, 'server.js': '' };
  const usual = { installed: prisma, files, manifest: { description: 'Prisma' } };
  assert.equal((await install(21, usual)).doubt, undefined);
  assert.ok((await install(22, usual)).isReused);
  const changed = { ...usual, files: { ...files, 'prisma/schema.prisma': `${schema}\n` } };
  assert.ok(!(await install(23, changed)).isReused);
});

test('a linked directory of patches causes an install', async (t) => {
  const { install, tree } = await createApp(t);
  for (const [number, target] of ['patches', '/etc'].entries()) {
    await mkdir(tree(number + 1), { recursive: true });
    await symlink(target, join(tree(number + 1), 'patches'));
    const { doubt } = await install(number + 1);
    assert.equal(doubt, 'a directory with patches or settings has links');
  }
});

test('scripts of the app do not run if the user that builds has forbidden them', async (t) => {
  const { root, install } = await createApp(t);
  const manifest = { scripts: { postinstall: 'true' } };
  assert.deepEqual((await install(1, { manifest })).ran, ['postinstall']);
  await writeTree(join(root, 'home'), { '.npmrc': 'ignore-scripts=true\n' });
  const { ran, doubt } = await install(2, { manifest });
  assert.deepEqual(ran, []);
  assert.equal(doubt, 'the settings of the package manager outside of the app may skip install scripts');
});

test('yarn 1 runs preinstall itself, since the script may write its settings', async (t) => {
  const { install } = await createApp(t, { 'yarn.lock': '# yarn lockfile v1\n' });
  const { ran, doubt } = await install(1, { manifest: { scripts: { preinstall: 'true' } } });
  assert.deepEqual([ran, doubt], [[], 'package.json has the script "preinstall"']);
});

test('packages are installed again if the lockfile of a member has changed', async (t) => {
  const { install } = await createApp(t);
  const release = (lockfile: string) => ({
    manifest: { workspaces: ['packages/*'] },
    files: { 'packages/a/package.json': { name: 'a' }, 'packages/a/package-lock.json': lockfile },
  });
  await install(1, release('{}'));
  assert.ok((await install(2, release('{}'))).isReused);
  assert.ok(!(await install(3, release('{} '))).isReused);
});

test('packages that a package has for its own tests run no install script', async (t) => {
  const { install } = await createApp(t);
  const scripted = { name: 'x', scripts: { postinstall: 'lerna bootstrap' } };
  const unknown = 'the install script of x may read files of the app';
  for (const [number, name] of ['x', '@a/test', 'test', 'a/node_modules/test'].entries()) {
    const path = `node_modules/${name}/package.json`;
    assert.equal(
      (await install(number + 1, { installed: { ...module, [path]: scripted } })).doubt,
      unknown,
      name,
    );
  }
  const installed = {
    ...module,
    'node_modules/resolve/test/resolver/multirepo/package.json': scripted,
    'node_modules/resolve/test/node_modules/x/package.json': scripted,
  };
  assert.equal((await install(20, { installed })).doubt, undefined);
});

test('files that manifests and settings name are a doubt unless they are known', () => {
  const manifests: [object, boolean][] = [
    [{ main: './index.js', exports: { './x': './x.js' }, resolutions: { ms: '2.1.3' } }, false],
    [{ resolutions: { ms: './vendor/ms' } }, true],
    [{ pnpm: { overrides: { ms: '../ms' } } }, true],
    [{ pnpm: { patchedDependencies: { ms: 'patches/ms.patch' } } }, false],
    [{ pnpm: { patchedDependencies: { ms: 'other/ms.patch' } } }, true],
    [{ pnpm: { patchedDependencies: { ms: 'other/ms' } } }, true],
    [{ dependencies: { ms: 'patch:ms@npm%3A2.1.3#~/.yarn/patches/ms-npm-2.1.3.patch' } }, false],
    [{ dependencies: { ms: 'patch:ms@npm:2.1.3#./ms.patch' } }, true],
  ];
  for (const [manifest, isDoubt] of manifests) {
    const text = JSON.stringify(manifest, null, 2);
    assert.equal(doubtOfManifest(text) !== undefined, isDoubt, text);
  }
  const settings: [string, string, boolean][] = [
    [
      '.npmrc',
      '//registry.example.com/:_authToken=${TOKEN}\nregistry=https://registry.example.com/\n',
      false,
    ],
    ['.npmrc', 'cafile=./ca.pem', true],
    ['.npmrc', 'pnpmfile=hooks.cjs', true],
    ['.yarnrc.yml', 'yarnPath: .yarn/releases/yarn-4.18.0.cjs\nnodeLinker: node-modules\n', false],
    ['.yarnrc.yml', 'yarnPath: tools/yarn.cjs', true],
    ['pnpm-workspace.yaml', 'packages:\n  - ./packages/*\n', false],
    ['pnpm-workspace.yaml', 'overrides:\n  ms: ./vendor/ms\n', true],
    ['.pnpmfile.cjs', 'module.exports = { hooks: { readPackage: (each) => each } };', false],
    ['.pnpmfile.cjs', 'module.exports = require("./hooks.cjs");', true],
  ];
  for (const [name, text, isDoubt] of settings)
    assert.equal(doubtOfSettings(name, text) !== undefined, isDoubt, text);
});
