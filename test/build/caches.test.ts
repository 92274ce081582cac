import assert from 'node:assert/strict';
import { cp, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';

// The tester may have set the directory of yarn's cache: then no app would have a cache of its own.
delete process.env['YARN_CACHE_FOLDER'];
delete process.env['YARN_GLOBAL_FOLDER'];

const lockfiles = fileURLToPath(new URL('../fixtures/lockfiles', import.meta.url));

async function lockedTree(t: TestContext, fixture: string): Promise<string> {
  const directory = join(await temporaryDirectory(t), 'staged');
  const locked = { dependencies: { ms: '2.1.3' }, devDependencies: { 'is-number': '7.0.0' } };
  await writeTree(directory, {
    'package.json': { name: 'locked', version: '1.0.0', license: 'MIT', ...locked },
  });
  await cp(join(lockfiles, fixture), directory, { recursive: true });
  return directory;
}

/** Cuts each file below `directory` in half. */
async function cutFiles(directory: string): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  assert.ok(files.length > 0, 'the cache has files');
  for (const file of files) await truncate(file, Math.floor((await stat(file)).size / 2));
}

const reportsDamage = (line: string) => line.includes('may be damaged');

for (const fixture of ['npm-11', 'pnpm-10', 'yarn-3.8', 'yarn-4.18']) {
  test(`a wrong checksum in the lockfile of ${fixture} has its own error and clears no cache of another app${thorough(fixture !== 'npm-11')}`, async (t) => {
    const cache = await temporaryDirectory(t);
    const env = {
      npm_config_cache: join(cache, 'npm'),
      npm_config_store_dir: join(cache, 'pnpm'),
      npm_config_fetch_retries: '0',
    };
    const directory = await lockedTree(t, fixture);
    const [name = ''] = await readdir(join(lockfiles, fixture));
    const lockfile = join(directory, name);
    const text = await readFile(lockfile, 'utf8');
    const wrong = text.replace(/(checksum: (?:\w+\/)?|sha512-)\w{6}/g, '$1000000');
    assert.notEqual(wrong, text);
    await writeFile(lockfile, wrong);
    const run: BuildRun = { steps: [], notices: [], lines: [] };
    await assert.rejects(runBuild(directory, { env, cache }, run), {
      code: 'install_failed',
      message: /: a package does not match its checksum in the lockfile\n/,
      hint: /may have been published again/,
    });
    const clears = run.lines.filter((line) => /^\$ .*cache clean/.test(line));
    assert.deepEqual(clears, fixture.startsWith('yarn') ? ['$ yarn cache clean --all'] : []);
  });
}

for (const fixture of ['yarn-3.8', 'yarn-4.18']) {
  test(`a damaged cache of ${fixture} is cleared${thorough(fixture !== 'yarn-4.18')}`, async (t) => {
    const cache = await temporaryDirectory(t);
    await runBuild(await lockedTree(t, fixture), { cache });
    await cutFiles(join(cache, 'yarn/cache'));
    const { lines } = await runBuild(await lockedTree(t, fixture), { cache });
    assert.ok(lines.some(reportsDamage), lines.join('\n'));
  });
}

for (const fixture of ['pnpm-8', 'pnpm-10']) {
  test(`${fixture} repairs a damaged store by itself (thorough)`, async (t) => {
    const store = await temporaryDirectory(t);
    const env = { npm_config_store_dir: store };
    await runBuild(await lockedTree(t, fixture), { env });
    await cutFiles(store);
    const directory = await lockedTree(t, fixture);
    const { lines } = await runBuild(directory, { env });
    assert.ok(!lines.some(reportsDamage), lines.join('\n'));
    assert.match(await readFile(join(directory, 'node_modules/ms/index.js'), 'utf8'), /module\.exports/);
    const { size } = await stat(join(directory, 'node_modules/ms/index.js'));
    assert.equal(size, 3024, 'the size of ms 2.1.3');
  });
}
