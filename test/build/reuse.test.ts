import assert from 'node:assert/strict';
import { cp, lstat, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isInstalledManifest, pathsReadBy } from '../../src/build/reuse/install-scripts.ts';
import { readAllKept } from '../../src/build/reuse/kept-packages.ts';
import type { KeptStore } from '../../src/build/reuse/kept-store.ts';
import { exists } from '../../src/system/fs/exists.ts';
import { appSettings, type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';

const lockfiles = fileURLToPath(new URL('../fixtures/lockfiles', import.meta.url));

/** package.json of the lockfiles. */
const locked = {
  ...{ name: 'locked', version: '1.0.0', license: 'MIT' },
  ...{ dependencies: { ms: '2.1.3' }, devDependencies: { 'is-number': '7.0.0' } },
};

/** An app with one release after another, each in a directory of its own. */
class App {
  readonly #root: string;
  readonly #fixture: string;
  readonly store: KeptStore;

  constructor(root: string, fixture: string) {
    this.#root = root;
    this.#fixture = fixture;
    const [record, directory] = [join(root, 'packages.json'), join(root, 'cache/packages')];
    const space = async () => 1024 ** 3;
    this.store = { record, directory, release: 0, isIgnored: false, space };
  }

  static async create(t: TestContext, fixture = 'npm-11'): Promise<App> {
    return new App(await temporaryDirectory(t), fixture);
  }

  tree(release: number): string {
    return join(this.#root, 'staging', String(release));
  }

  /** Builds a release with `manifest` and `files`. */
  async build(
    release: number,
    { manifest = {}, files = {}, env = {}, ...changes }: Release = {},
  ): Promise<BuildRun & { isReused: boolean }> {
    const directory = this.tree(release);
    await writeTree(directory, { 'package.json': { ...locked, ...manifest }, ...files });
    await cp(join(lockfiles, this.#fixture), directory, { recursive: true });
    const home = join(this.#root, 'home');
    const { lines, ...run } = await runBuild(directory, {
      ...{ cache: join(this.#root, 'cache'), settings: appSettings({ build: { prune: false } }) },
      ...{ env: { HOME: home, ...env }, packageStore: { ...this.store, release } },
      ...changes,
    });
    return { ...run, lines, isReused: lines.some((line) => line.startsWith('packages as in release')) };
  }

  read(release: number, path: string): Promise<string> {
    return readFile(join(this.tree(release), path), 'utf8');
  }
}

type Release = Omit<NonNullable<Parameters<typeof runBuild>[1]>, 'directory'> & {
  manifest?: object;
  files?: Record<string, unknown>;
};

const index = 'node_modules/ms/index.js';

for (const fixture of ['npm-11', 'pnpm-10', 'yarn-1', 'yarn-4.18']) {
  test(`packages of ${fixture} are reused, and only the scripts of the app run again${thorough(fixture !== 'npm-11')}`, async (t) => {
    const app = await App.create(t, fixture);
    const manifest = {
      scripts: {
        postinstall: 'echo "// patched" >> node_modules/ms/index.js',
        build: `node -e "if (require('ms')('2 days') !== 172800000) throw 1"`,
      },
    };
    const first = await app.build(1, { manifest });
    const second = await app.build(2, { manifest, files: { 'server.js': '// new' } });
    assert.deepEqual([first.isReused, second.isReused], [false, true], second.lines.join('\n'));
    assert.match(await app.read(2, index), /\/\/ patched\n$/);
    assert.equal(await app.read(2, index), await app.read(1, index));
    assert.equal(await app.read(2, 'package.json'), await app.read(1, 'package.json'));
    const third = await app.build(3, { manifest: { scripts: {} } });
    assert.ok(third.lines.includes('installs packages: package.json has changed since release 1'));
    assert.doesNotMatch(await app.read(3, index), /patched/);
  });
}

test('no build and no app changes the packages of another release', async (t) => {
  const app = await App.create(t);
  const build = [
    ...['echo "// appended" >> node_modules/ms/index.js', 'chmod 600 node_modules/ms/readme.md'],
    ...['node -e "fs.truncateSync(\'node_modules/ms/license.md\', 3)"', 'echo new > node_modules/ms/new.txt'],
    'echo "{}" > node_modules/is-number/package.json.new && mv node_modules/is-number/package.json.new node_modules/is-number/package.json',
  ].join(' && ');
  await app.build(1, { manifest: { scripts: { build } } });
  const result = await app.read(1, index);
  for (const release of [2, 3]) {
    const { isReused } = await app.build(release, { manifest: { scripts: { build } } });
    assert.ok(isReused);
    assert.equal(
      await app.read(release, index),
      result,
      'the build has appended to a file as it was installed',
    );
    // The running app.
    const path = join(app.tree(release), index);
    await writeFile(path, 'changed in place', { flag: 'r+' });
    const [one, other] = await Promise.all([stat(path), stat(join(app.tree(1), index))]);
    assert.notEqual(one.ino, other.ino);
    assert.equal(await app.read(1, index), result);
  }
});

test('a copy of packages has the modes, times and links of the install', async (t) => {
  const app = await App.create(t);
  const entries = async (release: number) => {
    const root = join(app.tree(release), 'node_modules');
    const names = ['', ...(await readdir(root, { recursive: true })).sort()];
    const all = names.map(async (name) => {
      const { mode, mtimeMs, size } = await lstat(join(root, name));
      return { name, mode, mtimeMs, size };
    });
    return Promise.all(all);
  };
  await app.build(1);
  assert.ok((await app.build(2)).isReused);
  assert.deepEqual(await entries(2), await entries(1));
});

test('packages are installed again if anything changes that an install depends on', async (t) => {
  const app = await App.create(t);
  await app.build(1);
  const changes: [string, Release][] = [
    ['.npmrc', { files: { '.npmrc': 'fund=false\n' } }],
    ['patches', { files: { 'patches/ms+2.1.3.patch': 'a patch' } }],
    ['package.json', { manifest: { description: 'other' } }],
    ['the variable TOKEN', { env: { TOKEN: 'secret' } }],
  ];
  const all: Release = {};
  let release = 1;
  for (const [name, change] of changes) {
    release += 1;
    Object.assign(all, { ...change, files: { ...all.files, ...change.files } });
    const { lines, isReused } = await app.build(release, all);
    assert.ok(!isReused);
    const reason = `installs packages: ${name} has changed since release ${release - 1}`;
    assert.ok(lines.includes(reason), lines.join('\n'));
  }
  assert.ok(!(await readFile(app.store.record, 'utf8')).includes('secret'));
  assert.ok((await app.build(release + 1, all)).isReused);
  const ignoring = await app.build(release + 2, { ...all, packageStore: { ...app.store, isIgnored: true } });
  assert.ok(!ignoring.isReused);
});

test('packages are installed again if the settings of the user, or the kept packages, have changed', async (t) => {
  const app = await App.create(t);
  await app.build(1);
  await writeTree(join(app.tree(1), '../../home'), { '.npmrc': 'fund=false\n' });
  const { lines } = await app.build(2);
  assert.ok(
    lines.includes(
      'installs packages: the configuration of the package manager outside of the app has changed since release 1',
    ),
    lines.join('\n'),
  );
  assert.ok((await app.build(3)).isReused);
  const place = app.store.directory;
  const kept = join(place, (await readdir(place))[0] ?? '', '0/ms/index.js');
  const text = await readFile(kept, 'utf8');
  // The same size, and the change is taken back: only the time of the change remains.
  await writeFile(kept, text.replace('var', 'let'));
  await writeFile(kept, text);
  const after = await app.build(4);
  assert.ok(after.lines.includes('installs packages: the kept packages have changed or are gone'));
  assert.ok((await app.build(5)).isReused);
});

test('packages are not kept if the install may depend on files of the app', async (t) => {
  const app = await App.create(t);
  await app.build(1);
  const doubts: [string, Release][] = [
    ['package.json has the script "install"', { manifest: { scripts: { install: 'true' } } }],
    ['node_modules is a part of the upload', { files: { 'node_modules/x/index.js': '' } }],
    [
      'the settings of the package manager may skip install scripts',
      { manifest: { scripts: { prepare: 'true' } }, files: { '.npmrc': 'ignore-scripts=true' } },
    ],
  ];
  let release = 1;
  for (const [reason, change] of doubts) {
    release += 1;
    const { lines } = await app.build(release, change);
    assert.ok(lines.includes(`packages are not kept for the next deploy: ${reason}`), lines.join('\n'));
    assert.deepEqual(await readAllKept(app.store), {});
  }
});

test('a link out of the app is not followed to what an install depends on', async (t) => {
  const app = await App.create(t);
  await writeTree(app.tree(1), { 'server.js': '' });
  await symlink('/etc/hostname', join(app.tree(1), '.npmrc'));
  const { lines } = await app.build(1);
  assert.ok(
    lines.includes('packages are not kept for the next deploy: .npmrc cannot be read'),
    lines.join('\n'),
  );
});

test('packages are kept without dev dependencies if nothing is built', async (t) => {
  const app = await App.create(t);
  const settings = appSettings();
  await app.build(1, { settings });
  const { steps, isReused } = await app.build(2, { settings });
  assert.deepEqual([steps, isReused], [['install'], true]);
  assert.deepEqual(await exists(join(app.tree(2), 'node_modules/is-number')), false);
  const built = await app.build(3, { settings, manifest: { scripts: { build: 'true' } } });
  assert.deepEqual(built.steps, ['install', 'build', 'prune']);
  const again = await app.build(4, {
    settings,
    manifest: { scripts: { build: 'ls node_modules/is-number' } },
  });
  assert.ok(!again.isReused);
  const last = await app.build(5, {
    settings,
    manifest: { scripts: { build: 'ls node_modules/is-number' } },
  });
  assert.deepEqual([last.steps, last.isReused], [['install', 'build', 'prune'], true]);
});

test('an install script is known by the name of its package or by its commands', () => {
  const cases: [string, string, string[] | undefined][] = [
    ['esbuild', 'node install.js', []],
    ['some-addon', 'prebuild-install || node-gyp rebuild --release', []],
    ['some-addon', 'node-gyp-build', []],
    ['some-addon', 'node-gyp rebuild && node ../../read.js', undefined],
    ['some-addon', 'exit $(cat ../../file)', undefined],
    ['constructor', 'node install.js', undefined],
    ['unknown', 'node postinstall.js', undefined],
  ];
  for (const [name, script, expected] of cases)
    assert.deepEqual(pathsReadBy({ name, scripts: [script] }), expected, script);
  assert.ok(
    pathsReadBy({ name: '@prisma/client', scripts: ['node scripts/postinstall.js'] })?.includes('prisma'),
  );
});

test('files of the tests of a package are not taken for packages', () => {
  const paths = [
    'node_modules/resolve/package.json',
    'node_modules/.pnpm/@scope+a@1.0.0/node_modules/@scope/a/package.json',
    'packages/web/node_modules/@scope/a/package.json',
    'node_modules/resolve/test/resolver/multirepo/package.json',
    'node_modules/package.json',
  ];
  assert.deepEqual(paths.filter(isInstalledManifest), paths.slice(0, 3));
});
