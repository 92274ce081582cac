import assert from 'node:assert/strict';
import { cp, readFile } from 'node:fs/promises';
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
