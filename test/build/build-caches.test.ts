import assert from 'node:assert/strict';
import { cp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
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
fs.writeFileSync('node_modules/.cache/out.tsbuildinfo', '{}');
fs.writeFileSync('node_modules/.cache/tsc.json', '{"program": {}}');
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
  const paths = ['node_modules/.cache', '.next/cache/webpack', '.next/cache/fetch-cache'];
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
      return runBuild(directory, {
        ...{ env, nodeVersion: node, settings: appSettings() },
        cacheStore: {
          record: join(root, 'caches.json'),
          directory: join(root, 'builds'),
          release,
          isIgnored: false,
        },
      });
    },
  };
}

test('caches of build tools move to the next build, and caches of data and tsbuildinfo do not', async (t) => {
  const { root, build, read } = await prepare(t);
  await build(1);
  const { lines } = await build(2);
  assert.ok(
    lines.includes('caches of the build as in release 1: .next/cache/webpack, node_modules/.cache'),
    lines.join('\n'),
  );
  assert.deepEqual(JSON.parse(await read('2/counts.json')), {
    'node_modules/.cache': 2,
    '.next/cache/webpack': 2,
    '.next/cache/fetch-cache': 1,
  });
  assert.deepEqual(
    await readdir(join(root, '2/.next/cache')),
    ['fetch-cache'],
    'the release has no cache of builds',
  );
  // No release sees what another build has written.
  assert.equal(await read('1/node_modules/.cache/lines'), 'x');
  await build(3, { env: { API: 'other' } });
  assert.equal(JSON.parse(await read('3/counts.json'))['node_modules/.cache'], 1);
  const kept = await readdir(join(root, 'builds'), { recursive: true });
  assert.deepEqual(
    kept.filter((name) => /tsbuildinfo|tsc/.test(name)),
    [],
  );
});

test('a build that fails with caches runs once more without them', async (t) => {
  const { build, read } = await prepare(t);
  await build(1);
  const onlyWithout = 'test ! -e node_modules/.cache/lines && echo built > result';
  const { lines } = await build(2, { build: onlyWithout });
  assert.ok(
    lines.includes(
      'The build failed with caches of an earlier build. Sluice removes them and builds once more.',
    ),
    lines.join('\n'),
  );
  assert.equal(await read('2/result'), 'built\n');
  await assert.rejects(build(3, { build: 'exit 1' }), { code: 'build_failed' });
});
