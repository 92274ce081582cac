import assert from 'node:assert/strict';
import { cp, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exists } from '../../src/system/fs/exists.ts';
import { appSettings, type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const lockfile = fileURLToPath(new URL('../fixtures/lockfiles/npm-11/package-lock.json', import.meta.url));

/** Build that adds a line to each cache, and writes the number of lines. */
const countingBuild = `
const fs = require('node:fs');
const counts = {};
for (const path of JSON.parse(process.argv[2])) {
  fs.mkdirSync(path, { recursive: true });
  fs.appendFileSync(path + '/lines', 'x');
  counts[path] = fs.readFileSync(path + '/lines', 'utf8').length;
}
fs.writeFileSync('counts.json', JSON.stringify(counts));
`;

type Build = (
  release: number,
  changes?: { env?: Record<string, string>; build?: string; node?: string },
) => Promise<BuildRun>;

async function prepare(
  t: TestContext,
): Promise<{ root: string; build: Build; read: (path: string) => Promise<string> }> {
  const root = await temporaryDirectory(t);
  const paths = ['.turbo/cache', '.next/cache/fetch-cache'];
  const usual = `node count.cjs '${JSON.stringify(paths)}'`;
  return {
    root,
    read: (path) => readFile(join(root, path), 'utf8'),
    build: async (release, { env = {}, build = usual, node = process.versions.node } = {}) => {
      const directory = join(root, String(release));
      await writeTree(directory, {
        'package.json': {
          ...{ name: 'locked', version: '1.0.0', license: 'MIT', scripts: { build } },
          ...{ dependencies: { ms: '2.1.3' }, devDependencies: { 'is-number': '7.0.0' } },
        },
        'count.cjs': countingBuild,
      });
      await cp(lockfile, join(directory, 'package-lock.json'));
      const store = { release, isIgnored: false, space: async () => 1024 ** 3 };
      return runBuild(directory, {
        ...{ env, nodeVersion: node, settings: appSettings() },
        packageStore: { ...store, record: join(root, 'packages.json'), directory: join(root, 'packages') },
        cacheStore: { ...store, record: join(root, 'caches.json'), directory: join(root, 'builds') },
      });
    },
  };
}

test('caches of Turborepo move to the next build, and caches of data do not', async (t) => {
  const { root, build, read } = await prepare(t);
  await build(1);
  assert.ok(!(await exists(join(root, '1/.turbo/cache'))), 'the release has no cache of builds');
  const { lines } = await build(2);
  assert.ok(lines.includes('caches of the build as in release 1: .turbo/cache'), lines.join('\n'));
  const counts = { '.turbo/cache': 2, '.next/cache/fetch-cache': 1 };
  assert.deepEqual(JSON.parse(await read('2/counts.json')), counts);
  await build(3, { env: { API: 'other' } });
  assert.equal(JSON.parse(await read('3/counts.json'))['.turbo/cache'], 1);
});

test('a cache that is a part of the upload stays in the release', async (t) => {
  const { root, build, read } = await prepare(t);
  await writeTree(join(root, '1'), { '.turbo/cache/lines': 'y' });
  await build(1);
  assert.equal(await read('1/.turbo/cache/lines'), 'yx');
});

/** Build tool that keeps its results by the absolute paths of files, as webpack does. */
const pathTool = `
const fs = require('node:fs');
const cache = 'node_modules/.cache/webpack/results.json';
const known = fs.existsSync(cache) ? JSON.parse(fs.readFileSync(cache, 'utf8')) : {};
const results = {};
let found = 0;
for (const name of fs.readdirSync('src')) {
  const path = fs.realpathSync('src/' + name);
  const content = fs.readFileSync(path, 'utf8');
  if (known[path]?.content === content) found += 1;
  results[path] = known[path]?.content === content ? known[path] : { content, result: content.toUpperCase() };
}
fs.mkdirSync('node_modules/.cache/webpack', { recursive: true });
fs.writeFileSync(cache, JSON.stringify(results));
const output = Object.values(results).map(({ result }) => result).sort().join('');
fs.writeFileSync('result.json', JSON.stringify({ found, output }));
`;

test('caches with absolute paths serve the next build, unless settings change, or a script that may change packages runs', async (t) => {
  const root = await temporaryDirectory(t);
  const build = async (release: number, files: Record<string, string>, scripts: Record<string, string>) => {
    const directory = join(root, 'build');
    await writeTree(directory, {
      'package.json': {
        ...{
          name: 'locked',
          version: '1.0.0',
          license: 'MIT',
          scripts: { build: 'node tool.cjs', ...scripts },
        },
        ...{ dependencies: { ms: '2.1.3' }, devDependencies: { 'is-number': '7.0.0' } },
      },
      ...{ 'tool.cjs': pathTool, 'src/a': 'a', 'src/b': 'b', ...files },
    });
    await cp(lockfile, join(directory, 'package-lock.json'));
    const store = { release, isIgnored: false, space: async () => 1024 ** 3 };
    await runBuild(directory, {
      packageStore: { ...store, record: join(root, 'packages.json'), directory: join(root, 'packages') },
      cacheStore: { ...store, record: join(root, 'caches.json'), directory: join(root, 'builds') },
    });
    await rename(directory, join(root, String(release)));
    const stays = await exists(join(root, `${release}/node_modules/.cache/webpack`));
    assert.equal(stays, 'postinstall' in scripts, 'the release keeps only a cache that no other build gets');
    return JSON.parse(await readFile(join(root, `${release}/result.json`), 'utf8')) as unknown;
  };
  assert.deepEqual(await build(1, {}, {}), { found: 0, output: 'AB' });
  assert.deepEqual(await build(2, { 'src/b': 'c' }, {}), { found: 1, output: 'AC' });
  const settings = { 'webpack.config.js': '// other' };
  assert.deepEqual(await build(3, settings, {}), { found: 0, output: 'AB' });
  assert.deepEqual(await build(4, settings, {}), { found: 2, output: 'AB' });
  const scripts = { postinstall: 'node change-packages.js' };
  const files = { ...settings, 'change-packages.js': '' };
  for (const release of [5, 6])
    assert.deepEqual(await build(release, files, scripts), { found: 0, output: 'AB' });
});
