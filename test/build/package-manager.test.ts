import assert from 'node:assert/strict';
import { cp, readdir, symlink, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { planBuild } from '../../src/build/build-plan.ts';
import { detectPackageManager } from '../../src/build/install/package-manager.ts';
import { readManifest } from '../../src/config/package-manifest.ts';
import { appSettings, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const lockfiles = fileURLToPath(new URL('../fixtures/lockfiles/', import.meta.url));

async function detect(t: TestContext, files: Record<string, unknown>, fixtures: string[] = []) {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': {}, ...files });
  for (const fixture of fixtures) await cp(lockfiles + fixture, directory, { recursive: true });
  const manifest = await readManifest(directory);
  assert.ok(manifest);
  const { manager, version, lockfile, notices } = await detectPackageManager(directory, manifest);
  return { manager, version, lockfile: lockfile?.name ?? null, notices: notices.map(({ code }) => code) };
}

test('each format of lockfile selects the version that writes it', async (t) => {
  const found: Record<string, string> = {};
  for (const fixture of await readdir(lockfiles)) {
    const { manager, version } = await detect(t, {}, [fixture]);
    found[fixture] = `${manager} ${version}`;
  }
  assert.deepEqual(found, {
    'npm-11': 'npm 11.19.1',
    'npm-6': 'npm 11.19.1',
    'pnpm-10': 'pnpm 10.34.9',
    'pnpm-7': 'pnpm 7.33.7',
    'pnpm-8': 'pnpm 8.15.9',
    'yarn-1': 'yarn-classic 1.22.22',
    'yarn-2.4': 'yarn-berry 2.4.2',
    'yarn-3.0': 'yarn-berry 3.0.2',
    'yarn-3.1': 'yarn-berry 3.1.1',
    'yarn-3.8': 'yarn-berry 3.8.7',
    'yarn-4.0': 'yarn-berry 4.0.2',
    'yarn-4.14': 'yarn-berry 4.14.1',
    'yarn-4.18': 'yarn-berry 4.18.1',
    'yarn-4.6': 'yarn-berry 4.13.0',
  });
});

test('a version in package.json takes precedence over the lockfile', async (t) => {
  const version = async (manifest: unknown, fixture: string) => {
    const found = await detect(t, { 'package.json': manifest }, [fixture]);
    assert.deepEqual(found.notices, []);
    return `${found.manager} ${found.version}`;
  };
  assert.equal(await version({ packageManager: 'pnpm@9.1.0+sha512.abc' }, 'pnpm-10'), 'pnpm 9.1.0');
  assert.equal(await version({ packageManager: 'yarn@1.22.19' }, 'yarn-1'), 'yarn-classic 1.22.19');
  assert.equal(await version({ packageManager: 'yarn@4.1.0' }, 'yarn-4.6'), 'yarn-berry 4.1.0');
  const devEngines = { packageManager: { name: 'pnpm', version: '^11.2.0' } };
  assert.equal(await version({ devEngines }, 'pnpm-10'), 'pnpm ^11.2.0');
  const range = { packageManager: { name: 'pnpm', version: '>=9 <12', onFail: 'error' } };
  assert.equal(await version({ devEngines: range }, 'pnpm-10'), 'pnpm 10.34.9');
});

test('package.json selects one of several lockfiles; otherwise they are rejected', async (t) => {
  const fixtures = ['npm-11', 'yarn-1'];
  const named = await detect(t, { 'package.json': { packageManager: 'yarn@1.22.22' } }, fixtures);
  assert.deepEqual([named.manager, named.lockfile, named.notices], ['yarn-classic', 'yarn.lock', []]);
  await assert.rejects(detect(t, {}, fixtures), {
    code: 'unsupported_package_manager',
    message: 'lockfiles of several package managers: package-lock.json, yarn.lock',
  });
});

/** Lockfiles that have the dependency ms with the range ^2.1.0, by name; other ranges by replacement. */
const locks: Record<string, string> = {
  'package-lock.json':
    '{"lockfileVersion": 3, "packages": {"": {"devDependencies": {"ms": "^2.1.0"}}, "node_modules/ms": {"version": "2.1.0"}}}',
  'yarn.lock': '# yarn lockfile v1\n\n"ms@^1.9.0 || 2", ms@^2.1.0:\n  version "2.1.3"\n',
  'pnpm-lock.yaml':
    "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    devDependencies:\n      ms:\n        specifier: ^2.1.0\n        version: 2.1.3\n\npackages:\n",
};
const outdated = (name: string) => locks[name]?.replaceAll('2.1.0', '2.0.0');

test('of several lockfiles, the only one that matches package.json counts', async (t) => {
  const manifest = { 'package.json': { devDependencies: { ms: '^2.1.0' } } };
  for (const name of Object.keys(locks)) {
    for (const other of Object.keys(locks).filter((each) => each !== name)) {
      const files = { ...manifest, [name]: locks[name], [other]: outdated(other) };
      const found = await detect(t, files);
      assert.deepEqual([found.lockfile, found.notices], [name, ['outdated_lockfile']], `not ${other}`);
      for (const rest of [
        { [other]: locks[other] },
        { [name]: outdated(name) },
        { [name]: outdated(name), [other]: '{' },
      ])
        await assert.rejects(detect(t, { ...files, ...rest }), { code: 'unsupported_package_manager' });
    }
  }
});

test('a lockfile with Windows line endings is compared', async (t) => {
  const manifest = { 'package.json': { devDependencies: { ms: '^2.1.0' } } };
  const windows = (text = '') => text.replaceAll('\n', '\r\n');
  for (const name of ['yarn.lock', 'pnpm-lock.yaml']) {
    const other = 'package-lock.json';
    const found = await detect(t, { ...manifest, [name]: windows(locks[name]), [other]: outdated(other) });
    assert.equal(found.lockfile, name);
    const current = { [name]: windows(locks[name]), [other]: windows(locks[other]) };
    await assert.rejects(detect(t, { ...manifest, ...current }), { code: 'unsupported_package_manager' });
  }
});

test('no lockfile is selected if one cannot be compared', async (t) => {
  const versions = (version: unknown) => JSON.stringify({ dependencies: { ms: { version } } });
  const npm: [content: string | undefined, range: string, more?: Record<string, string>][] = [
    ...[null, 5, [], { dependencies: null }, { dependencies: [] }].map((top): [string, string] => [
      JSON.stringify({ packages: { '': top } }),
      '^2.1.0',
    ]),
    ...['null', '[]', '{"packages": null}', '{"packages": []}', '{"dependencies": 5}'].map(
      (content): [string, string] => [content, '^2.1.0'],
    ),
    ['{"dependencies": {"ms": null}}', '^2.1.0'],
    [versions(5), '^2.1.0'],
    [versions('2.1.0'), '1||'.repeat(27_000)],
    [versions('2.1.0'), '^2.1.0', Object.fromEntries(Array.from({ length: 1100 }, (_, n) => [`a${n}`, '*']))],
    [`${locks['package-lock.json']}${' '.repeat(8 * 1024 ** 2)}`, '^2.1.0'],
  ];
  for (const [content, range, more] of npm) {
    const dependencies = { ...more, ms: range };
    const keys = Object.entries(dependencies).map(([name, each]) => `"${name}@${each}":\n`);
    const files = {
      'package.json': { dependencies },
      'package-lock.json': content,
      'yarn.lock': `# yarn lockfile v1\n${keys.join('')}`,
    };
    await assert.rejects(detect(t, files), { code: 'unsupported_package_manager' }, content?.slice(0, 99));
  }
});

test('the comparison with hostile lockfiles takes linear time', async (t) => {
  const length = 1_000_000;
  const lines = [
    `  ${':'.repeat(length)}\rx`,
    `  ${': '.repeat(length / 2)}\rx`,
    `"${'"'.repeat(length)}\r:`,
    `a${':'.repeat(length)}\rx`,
    `${' '.repeat(length)}x: '${"'".repeat(length)}\r`,
    `a${'@npm:'.repeat(length / 5)}\rx:`,
  ];
  const rest = locks['package-lock.json'] ?? '';
  const before = process.cpuUsage();
  for (const name of ['yarn.lock', 'pnpm-lock.yaml']) {
    for (const line of lines) {
      const files = { 'package.json': { dependencies: { ms: '^2.1.0' } }, 'package-lock.json': rest };
      const found = await detect(t, { ...files, [name]: line });
      assert.equal(found.lockfile, 'package-lock.json');
    }
  }
  const nested = { 'package-lock.json': '['.repeat(length), 'yarn.lock': locks['yarn.lock'] };
  await assert.rejects(detect(t, nested), { code: 'unsupported_package_manager' });
  const { user } = process.cpuUsage(before);
  assert.ok(user < 5e6, `${user} µs`);
});

test('formats of lockfiles of earlier package managers are compared with package.json', async (t) => {
  const manifest = { dependencies: { ms: '^2.1.0', '@acme/ui': 'npm:ui@1' } };
  const earlier: Record<string, string> = {
    'package-lock.json':
      '{"lockfileVersion": 1, "dependencies": {"ms": {"version": "2.1.3"}, "@acme/ui": {"version": "npm:ui@1.0.0"}}}',
    'yarn.lock':
      '__metadata:\n  version: 8\n\n? "@acme/ui@npm:ui@1, @acme/ui@npm:ui@2"\n:\n  version: 1.0.0\n\n"ms@npm:^2.1.0":\n',
    'pnpm-lock.yaml':
      "lockfileVersion: 5.4\n\nspecifiers:\n  '@acme/ui': npm:ui@1\n  ms: ^2.1.0\n\npackages:\n",
  };
  for (const [name, content] of Object.entries(earlier)) {
    const other = name === 'yarn.lock' ? 'pnpm-lock.yaml' : 'yarn.lock';
    const files = { 'package.json': manifest, [name]: content, [other]: outdated(other) };
    assert.equal((await detect(t, files)).lockfile, name);
  }
});

test('a lockfile takes precedence over a package manager without one, with a notice', async (t) => {
  const found = await detect(t, { 'package.json': { packageManager: 'pnpm@10.0.0' } }, ['npm-11']);
  assert.deepEqual([found.manager, found.notices], ['npm', ['other_package_manager']]);
});

test('without a lockfile, the package manager is npm or the one in package.json, with a notice', async (t) => {
  const dependencies = { ms: '2' };
  const plain = await detect(t, { 'package.json': { dependencies } });
  assert.deepEqual(plain, { manager: 'npm', version: '11.19.1', lockfile: null, notices: ['no_lockfile'] });
  const named = await detect(t, { 'package.json': { dependencies, packageManager: 'yarn@4.1.0' } });
  assert.deepEqual([named.manager, named.notices], ['yarn-berry', ['no_lockfile']]);
});

test('a workspace whose members have dependencies needs a lockfile', async (t) => {
  const directory = await temporaryDirectory(t);
  const codes = async (dependencies: Record<string, string>) => {
    await writeTree(directory, {
      'package.json': { workspaces: ['packages/*'] },
      'packages/a/package.json': { name: 'a', dependencies },
      'packages/b/package.json': { name: 'b' },
    });
    const plan = await planBuild(directory, appSettings());
    return plan?.packageManager.notices.map(({ code }) => code);
  };
  assert.deepEqual(await codes({ ms: '2' }), ['no_lockfile']);
  assert.deepEqual(await codes({ b: '*' }), []);
});

test('bun installs with its lockfile, unless there is one of another package manager', async (t) => {
  const bun = { manager: 'bun', version: '1.4.5', notices: [] };
  const lock = (name: string) => ({ ...bun, lockfile: name });
  assert.deepEqual(await detect(t, { 'bun.lock': '{}' }), lock('bun.lock'));
  assert.deepEqual(await detect(t, { 'bun.lockb': 'binary' }), lock('bun.lockb'));
  const named = await detect(t, {
    'package.json': { packageManager: 'bun@1.2.0' },
    'bun.lock': '{}',
    'package-lock.json': '{}',
  });
  assert.deepEqual([named.manager, named.version], ['bun', '1.2.0']);
  const both = await detect(t, { 'bun.lock': '{}', 'package-lock.json': '{}' });
  assert.equal(both.manager, 'npm');
});

test('unknown package managers and unknown formats are rejected', async (t) => {
  const rejects = async (files: Record<string, unknown>, message: string) => {
    await assert.rejects(detect(t, files), { code: 'unsupported_package_manager', message });
  };
  await rejects(
    { 'package.json': { packageManager: 'deno@2' } },
    'package.json names the package manager "deno@2"',
  );
  await rejects(
    { 'pnpm-lock.yaml': "lockfileVersion: '12.0'\n" },
    'pnpm-lock.yaml has format 12, and Sluice does not know the version that writes this format',
  );
  await rejects({ 'yarn.lock': 'a: b\n' }, 'yarn.lock does not name its format');
});

test('a lockfile that is a directory or huge is rejected; a dangling link is ignored', async (t) => {
  await assert.rejects(detect(t, { 'package-lock.json/x': '' }), {
    code: 'unsupported_package_manager',
    message: 'package-lock.json is not a file',
  });
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': {}, 'yarn.lock': '' });
  await symlink('bun.lock', join(directory, 'bun.lock'));
  await truncate(join(directory, 'yarn.lock'), 1024 ** 3);
  const manifest = (await readManifest(directory)) ?? assert.fail();
  await assert.rejects(detectPackageManager(directory, manifest), {
    message: 'yarn.lock is 1.0 GiB, more than the limit of 64 MiB',
  });
});

test('the notice about a missing lockfile explains `npm pack`', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { dependencies: { ms: '2.1.3' } } });
  const manifest = await readManifest(directory);
  assert.ok(manifest);
  const { notices } = await detectPackageManager(directory, manifest);
  assert.match(
    notices[0]?.hint ?? '',
    /`npm pack` leaves the lockfile out: upload the result of `git archive` or `tar`/,
  );
});
