import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { cp, readFile, rename } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Caches of the package managers, which all tests share, from run to run. */
const cache = fileURLToPath(new URL('../../node_modules/.cache/sluice-test/caches', import.meta.url));

interface Tested {
  /** as in "packageManager" */
  name: string;
  lockfile: string;
  /** further fields of package.json */
  fields?: Record<string, unknown>;
  /** further files */
  files?: Record<string, string>;
  /** version of the member in the dependencies of the top */
  member?: string;
  /** dependencies of the native addon */
  ofAddon?: Record<string, string>;
}

const members = { workspaces: ['packages/*'] };
/** Packages with install scripts, which newer package managers run only if they are allowed. */
const withScripts = ['native', 'native@file:native', 'bufferutil'];
const pnpmWorkspace = `packages: ["packages/*"]
onlyBuiltDependencies: ${JSON.stringify(withScripts)}
allowBuilds:
${withScripts.map((name) => `  "${name}": true\n`).join('')}`;

const npm = (version: string): Tested => ({
  name: `npm@${version}`,
  lockfile: 'package-lock.json',
  fields: members,
  member: '1.0.0',
});
const pnpm = (version: string): Tested => ({
  name: `pnpm@${version}`,
  lockfile: 'pnpm-lock.yaml',
  fields: { pnpm: { onlyBuiltDependencies: withScripts } },
  files: { 'pnpm-workspace.yaml': pnpmWorkspace },
});
const yarn = (version: string): Tested => ({
  name: `yarn@${version}`,
  lockfile: 'yarn.lock',
  fields: members,
  files: { '.yarnrc.yml': 'enableScripts: true\n' },
  // Yarn has no node-gyp, and adds one only to packages of the registry.
  ofAddon: { 'node-gyp': '11.2.0' },
});

const tested: Tested[] = [
  ...['8.19.4', '9.9.4', '10.9.4', '11.19.1'].map(npm),
  ...['8.15.9', '9.15.9', '10.34.9', '11.28.11'].map(pnpm),
  { ...yarn('1.22.22'), files: {}, member: '1.0.0' },
  ...['3.8.7', '4.18.1'].map(yarn),
  { name: 'bun@1.4.5', lockfile: 'bun.lock', fields: { ...members, trustedDependencies: withScripts } },
];

/** Changes a file of an installed package, as patch-package does, and writes one beside it, as prisma does. */
const buildScript = `
  const fs = require('node:fs');
  require('@matrix/lib');
  fs.appendFileSync(require.resolve('ms'), '\\nmodule.exports.patched = true;\\n');
  fs.mkdirSync('node_modules/.generated', { recursive: true });
  fs.writeFileSync('node_modules/.generated/client.js', 'module.exports = 1;\\n');
`;

/** Native addon that exports the version of the Node.js headers that compiled it. */
const addon = `
  #include <node_api.h>
  #include <node_version.h>
  NAPI_MODULE_INIT() {
    napi_value version;
    napi_create_string_utf8(env, NODE_VERSION_STRING, NAPI_AUTO_LENGTH, &version);
    return version;
  }
`;
/** Address without headers: the addon compiles only with the headers in the package of Node.js. */
const withoutHeaders = { npm_config_disturl: 'http://127.0.0.1:9/' };

async function writeApp(
  directory: string,
  { name, fields, files, member = 'workspace:*', ofAddon = {} }: Tested,
) {
  await writeTree(directory, {
    'package.json': {
      name: 'matrix',
      version: '1.0.0',
      private: true,
      license: 'MIT',
      packageManager: name,
      // The program of the postinstall is only in devDependencies, as husky often is.
      scripts: { postinstall: 'mkdirp made', build: 'node build.cjs' },
      dependencies: {
        ms: '2.1.3',
        bufferutil: '4.0.9',
        native: 'file:./native',
        '@matrix/lib': member,
      },
      devDependencies: { mkdirp: '1.0.4' },
      ...fields,
    },
    'build.cjs': buildScript,
    'native/package.json': {
      name: 'native',
      version: '1.0.0',
      license: 'MIT',
      scripts: { install: 'node-gyp rebuild' },
      dependencies: ofAddon,
    },
    'native/binding.gyp': '{ "targets": [{ "target_name": "native", "sources": ["native.c"] }] }',
    'native/native.c': addon,
    'native/index.js': "module.exports = require('./build/Release/native.node');",
    'packages/lib/package.json': {
      name: '@matrix/lib',
      version: '1.0.0',
      license: 'MIT',
      main: 'index.js',
      dependencies: { ms: '2.1.3' },
      devDependencies: { 'is-number': '7.0.0' },
    },
    'packages/lib/index.js': "module.exports = require('ms')('1s');",
    ...files,
  });
}

/** Returns a digest of each file and the target of each link below a directory. */
function digests(directory: string): Map<string, string> {
  const all = new Map<string, string>();
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(directory, path);
    const { mode } = lstatSync(path);
    if (entry.isSymbolicLink()) all.set(name, readlinkSync(path));
    else if (entry.isFile())
      all.set(name, `${mode} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`);
  }
  return all;
}

/** Builds an app. @returns what was reported, and the files before the prune */
async function buildApp(directory: string): Promise<BuildRun & { before: Map<string, string> }> {
  const run: BuildRun = { steps: [], notices: [], lines: [] };
  let before = new Map<string, string>();
  const step = (name: string) => {
    run.steps.push(name);
    if (name === 'prune') before = digests(directory);
  };
  await runBuild(directory, { cache, step, env: withoutHeaders }, run).catch((error: unknown) => {
    throw new Error(run.lines.join('\n'), { cause: error });
  });
  return { ...run, before };
}

/** Checks a release at another place than that of its build. */
async function checkRelease(directory: string): Promise<void> {
  const moved = `${directory}-moved`;
  await rename(directory, moved);
  const require = createRequire(join(moved, 'app.cjs'));
  assert.equal(require('ms').patched, true, 'the patch of the build');
  assert.equal(require('native'), process.versions.node, 'the addon that node-gyp has compiled');
  assert.equal(require('@matrix/lib'), 1000, 'the member of the workspace');
  require('bufferutil');
  assert.ok(
    Object.keys(require.cache).some((path) => path.endsWith('.node')),
    'the native addon that has a compiled file',
  );
  assert.equal(require(join(moved, 'node_modules/.generated/client.js')), 1);
  assert.throws(() => require('mkdirp'), { code: 'MODULE_NOT_FOUND' });
  const inMember = createRequire(join(moved, 'packages/lib/index.js'));
  assert.throws(() => inMember('is-number'), { code: 'MODULE_NOT_FOUND' });
}

async function buildTwice(t: TestContext, manager: Tested): Promise<void> {
  const { lockfile } = manager;
  const parent = await temporaryDirectory(t);
  const first = join(parent, 'first');
  await writeApp(first, manager);
  const { notices } = await buildApp(first);
  assert.deepEqual(
    notices.map(({ code }) => code),
    ['no_lockfile'],
  );

  const second = join(parent, 'second');
  await writeApp(second, manager);
  await cp(join(first, lockfile), join(second, lockfile));
  const locked = await readFile(join(second, lockfile), 'utf8');
  const run = await buildApp(second);
  assert.deepEqual([run.steps, run.notices], [['install', 'build', 'prune'], []], run.lines.join('\n'));
  assert.equal(await readFile(join(second, lockfile), 'utf8'), locked);
  const after = digests(second);
  for (const [path, digest] of after) assert.equal(digest, run.before.get(path), path);
  assert.ok(after.size < run.before.size);
  await checkRelease(second);
}

describe('an app is installed, built and pruned, and every remaining file is as the build left it', {
  concurrency: 2,
}, () => {
  for (const manager of tested) test(`by ${manager.name}`, (t) => buildTwice(t, manager));
});

describe('an install in another directory gets its dev dependencies', { concurrency: 2 }, () => {
  for (const { name } of tested) {
    const [program = ''] = name.split('@');
    test(`by ${name}`, async (t) => {
      const directory = join(await temporaryDirectory(t), 'app');
      await writeTree(directory, {
        'package.json': {
          packageManager: name,
          license: 'MIT',
          dependencies: { ms: '2.1.3' },
          // As apps for Heroku write it: it replaces "build".
          scripts: {
            build: 'exit 1',
            'heroku-postbuild': `cd client && ${program} install && ${program} run build`,
          },
        },
        'client/package.json': {
          name: 'client',
          version: '1.0.0',
          license: 'MIT',
          scripts: { build: 'mkdirp dist && node -e "console.log(process.env.NODE_ENV)"' },
          devDependencies: { mkdirp: '1.0.4' },
        },
        'client/yarn.lock': '',
        'client/.yarnrc.yml': 'nodeLinker: node-modules\n',
      });
      const { lines } = await runBuild(directory, { cache });
      assert.ok(readdirSync(join(directory, 'client')).includes('dist'));
      assert.ok(lines.includes('production'), lines.join('\n'));
    });
  }
});
