import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { packageRequests } from '../../../src/build/node-version/packages.ts';
import { readManifest } from '../../../src/config/package-manifest.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { type Files, writeTree } from '../../support/tree.ts';

async function tree(t: TestContext, files: Files): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  return directory;
}

const npm = (packages: Record<string, string>) =>
  JSON.stringify(
    {
      lockfileVersion: 3,
      packages: Object.fromEntries(
        Object.entries(packages).map(([path, version]) => [path, { version, license: 'MIT' }]),
      ),
    },
    null,
    2,
  );

const cases: Record<string, { files: Files; requests: [from: string, text: string][] }> = {
  'a package-lock.json': {
    files: {
      'package-lock.json': npm({
        'node_modules/buffer-equal-constant-time': '1.0.1',
        'node_modules/a/node_modules/better-sqlite3': '11.8.1',
        'node_modules/not-better-sqlite3': '1.0.0',
      }),
    },
    requests: [
      ['buffer-equal-constant-time 1.0.1 in package-lock.json', '<25'],
      ['better-sqlite3 11.8.1 in package-lock.json', '<25'],
    ],
  },
  'a package-lock.json of npm 6': {
    files: {
      'package-lock.json': JSON.stringify(
        {
          lockfileVersion: 1,
          dependencies: { 'better-sqlite3': { version: '7.6.2', requires: { 'better-sqlite3': '^1.0.0' } } },
        },
        null,
        2,
      ),
    },
    requests: [['better-sqlite3 7.6.2 in package-lock.json', '<22']],
  },
  'a yarn.lock of yarn 1': {
    files: {
      'yarn.lock':
        '# yarn lockfile v1\n\n\nbuffer-equal-constant-time@1.0.1, buffer-equal-constant-time@^1.0.1:\n  version "1.0.1"\n  resolved "x"\n',
    },
    requests: [['buffer-equal-constant-time 1.0.1 in yarn.lock', '<25']],
  },
  'a yarn.lock of yarn 4': {
    files: {
      'yarn.lock':
        '__metadata:\n  version: 8\n\n"better-sqlite3@npm:^12.8.0":\n  version: 12.8.0\n\n"node-sass@npm:^9.0.0":\n  version: 9.0.0\n  resolution: "x"\n',
    },
    requests: [['node-sass 9.0.0 in yarn.lock', '<21']],
  },
  'a pnpm-lock.yaml': {
    files: {
      'pnpm-lock.yaml':
        "lockfileVersion: '9.0'\npackages:\n\n  better-sqlite3@11.0.0:\n    resolution: {}\n\nsnapshots:\n\n  better-sqlite3@11.0.0:\n    dependencies:\n      buffer-equal-constant-time: 1.0.1\n",
    },
    requests: [['better-sqlite3 11.0.0 in pnpm-lock.yaml', '<24']],
  },
  'a pnpm-lock.yaml of pnpm 7': {
    files: { 'pnpm-lock.yaml': 'packages:\n\n  /better-sqlite3/12.7.0:\n    resolution: {}\n' },
    requests: [['better-sqlite3 12.7.0 in pnpm-lock.yaml', '<25']],
  },
  'a bun.lock': {
    files: { 'bun.lock': '{\n  "packages": {\n    "node-sass": ["node-sass@8.0.0", "", {}],\n  }\n}\n' },
    requests: [['node-sass 8.0.0 in bun.lock', '<20']],
  },
  'versions with the same limit': {
    files: {
      'package-lock.json': npm({
        'node_modules/better-sqlite3': '11.1.0',
        'node_modules/a/node_modules/better-sqlite3': '11.2.0',
        'node_modules/b/node_modules/better-sqlite3': '12.0.0',
      }),
    },
    requests: [
      ['better-sqlite3 11.1.0 in package-lock.json', '<24'],
      ['better-sqlite3 12.0.0 in package-lock.json', '<25'],
    ],
  },
  'no lockfile': {
    files: { 'package.json': { dependencies: { express: '5', jsonwebtoken: '9' } } },
    requests: [['buffer-equal-constant-time of jsonwebtoken', '<25']],
  },
  'other packages': {
    files: { 'package-lock.json': npm({ 'node_modules/better-sqlite3': '13.0.0' }) },
    requests: [],
  },
};

for (const [name, { files, requests }] of Object.entries(cases)) {
  test(`packages that fail on newer versions of Node.js are found: ${name}`, async (t) => {
    const directory = await tree(t, files);
    const found = await packageRequests(directory, await readManifest(directory));
    assert.deepEqual(
      found.map(({ from, text }) => [from, text]),
      requests,
    );
  });
}

test('only some versions of a lockfile are compared', async (t) => {
  const versions = Array.from(
    { length: 1000 },
    (_, at) => `  better-sqlite3@${at < 999 ? 99 : 1}.0.${at}:\n`,
  );
  const directory = await tree(t, { 'pnpm-lock.yaml': `packages:\n${versions.join('')}` });
  assert.deepEqual(await packageRequests(directory, undefined), []);
});

test('the search through a hostile lockfile takes linear time', async (t) => {
  for (const part of [
    '"node_modules/',
    '"',
    ' ',
    '\n',
    "\n  'node-sass",
    'node-sass@:\n',
    'node-sass@:\r',
    '"node-sass": {\n',
  ]) {
    for (const name of ['package-lock.json', 'pnpm-lock.yaml', 'yarn.lock', 'bun.lock']) {
      const directory = await tree(t, { [name]: part.repeat(Math.ceil(4e6 / part.length)) });
      const before = process.cpuUsage();
      await packageRequests(directory, undefined);
      const { user } = process.cpuUsage(before);
      assert.ok(user < 5e6, `${JSON.stringify(part)} in ${name}: ${user} µs`);
    }
  }
});
