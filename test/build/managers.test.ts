import assert from 'node:assert/strict';
import { cp, readdir, readFile, rename } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { runJob } from '../support/jobs.ts';
import { shownFor } from '../support/same-decision.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const lockfiles = fileURLToPath(new URL('../fixtures/lockfiles', import.meta.url));

/** Build that fails without its dev dependency, and reports its environment. */
const buildScript = `
  const isNumber = require('is-number');
  const { npm_config_user_agent: agent, NODE_ENV } = process.env;
  require('fs').writeFileSync('built.json', JSON.stringify({ works: isNumber(5), agent, NODE_ENV, node: process.version }));
`;

const manifest = {
  name: 'locked',
  version: '1.0.0',
  license: 'MIT',
  scripts: { build: 'node build.cjs' },
  dependencies: { ms: '2.1.3' },
  devDependencies: { 'is-number': '7.0.0' },
};

async function lockedTree(t: TestContext, fixture: string, changes = {}): Promise<string> {
  const directory = join(await temporaryDirectory(t), 'staged');
  await writeTree(directory, { 'package.json': { ...manifest, ...changes }, 'build.cjs': buildScript });
  await cp(join(lockfiles, fixture), directory, { recursive: true });
  return directory;
}

/** Removes the variable with the directory of yarn's cache for the time of a test: the tester may have set it. */
function withoutYarnCache(t: TestContext): void {
  const { YARN_CACHE_FOLDER: folder } = process.env;
  delete process.env['YARN_CACHE_FOLDER'];
  t.after(() => {
    if (folder !== undefined) process.env['YARN_CACHE_FOLDER'] = folder;
  });
}

async function lockfileOf(directory: string, fixture: string): Promise<string> {
  const [name = ''] = await readdir(join(lockfiles, fixture));
  return await readFile(join(directory, name), 'utf8');
}

/** Package manager for each lockfile. */
const expected: Record<string, string> = {
  'npm-6': 'npm/11.',
  'npm-11': 'npm/11.',
  'pnpm-7': 'pnpm/7.',
  'pnpm-8': 'pnpm/8.',
  'pnpm-10': 'pnpm/10.',
  'yarn-1': 'yarn/1.22.',
  'yarn-2.4': 'yarn/2.4.',
  'yarn-3.8': 'yarn/3.8.',
  'yarn-4.0': 'yarn/4.0.',
  'yarn-4.18': 'yarn/4.18.',
};

describe('an app is installed as locked, built with dev dependencies, and pruned', {
  concurrency: 2,
}, () => {
  for (const [fixture, agent] of Object.entries(expected)) {
    // test/managers has the newest version of each package manager.
    test(`by the package manager that wrote ${fixture} (thorough)`, async (t) => {
      const directory = await lockedTree(t, fixture);
      const lockfile = await lockfileOf(directory, fixture);
      const shown = await shownFor(directory, 'locked');
      const { steps, notices, lines } = await runBuild(directory);
      assert.ok('preview' in shown && lines.includes(shown.preview.install ?? ''), lines.join('\n'));

      const built = JSON.parse(await readFile(join(directory, 'built.json'), 'utf8'));
      assert.ok(built.agent.startsWith(agent), built.agent);
      assert.deepEqual(
        { ...built, agent },
        { works: true, agent, NODE_ENV: 'production', node: process.version },
      );
      assert.equal(await lockfileOf(directory, fixture), lockfile);
      assert.deepEqual([steps, notices], [['install', 'build', 'prune'], []]);

      // A release moves from staging to its final directory.
      const moved = `${directory}-moved`;
      await rename(directory, moved);
      const require = createRequire(join(moved, 'app.js'));
      assert.equal(require('ms')('2 days'), 172_800_000);
      assert.throws(() => require('is-number'), { code: 'MODULE_NOT_FOUND' });
    });
  }
});

test('yarn runs the build script of an app without dependencies', async (t) => {
  const directory = await temporaryDirectory(t);
  const scripts = { build: `node -e "fs.writeFileSync('built', '')"` };
  await writeTree(directory, { 'package.json': { packageManager: 'yarn@4.18.1', scripts } });
  const { steps, notices } = await runBuild(directory);
  assert.ok((await readdir(directory)).includes('built'));
  assert.deepEqual([steps, notices], [['install', 'build'], []]);
});

test('an app without dependencies is compiled if it is a native addon (thorough)', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, {
    'package.json': { name: 'addon' },
    'binding.gyp': '{ "targets": [{ "target_name": "addon", "sources": ["addon.c"] }] }',
    'addon.c': '#include <node_api.h>\nNAPI_MODULE_INIT() { return exports; }\n',
  });
  const { steps } = await runBuild(directory, { env: { npm_config_disturl: 'http://127.0.0.1:9/' } });
  assert.deepEqual(steps, ['install']);
  assert.ok((await readdir(join(directory, 'build/Release'))).includes('addon.node'));
});

test("Plug'n'Play of yarn is installed as node_modules", async (t) => {
  const directory = await lockedTree(t, 'yarn-4.18');
  await writeTree(directory, { '.yarnrc.yml': 'nodeLinker: pnp\n', '.pnp.cjs': '' });
  await runBuild(directory);
  const names = await readdir(directory);
  assert.ok(names.includes('node_modules') && !names.includes('.pnp.cjs'), names.join(' '));
});

test('every package manager rejects a lockfile that does not match package.json (thorough)', async (t) => {
  for (const fixture of ['npm-11', 'pnpm-10', 'yarn-1', 'yarn-4.18']) {
    const directory = await lockedTree(t, fixture, { dependencies: { ms: '2.1.2' } });
    await assert.rejects(runBuild(directory), {
      code: 'install_failed',
      message: /ended with status 1: the lockfile does not match package\.json\n/,
      hint: 'Run the install on your machine and commit the new lockfile.',
    });
  }
});

test('a damaged cache of an app is cleared, and the install is tried once more (thorough)', async (t) => {
  const cache = await temporaryDirectory(t);
  withoutYarnCache(t);
  let installs = 0;
  const runJobOnce: typeof runJob = async (job, onOutput, signal) => {
    if (job.argv.includes('--frozen-lockfile')) installs += 1;
    const result = await runJob(job, onOutput, signal);
    if (!job.argv.includes('--frozen-lockfile') || installs > 1) return result;
    assert.ok((await readdir(join(cache, 'yarn/v6'))).some((name) => name.startsWith('npm-ms-')));
    onOutput('error There should only be one folder in a package cache\n');
    return { ...result, code: 1 };
  };
  const { lines, steps } = await runBuild(await lockedTree(t, 'yarn-1'), { cache, runJob: runJobOnce });
  assert.ok(
    lines.some((line) => /^The cache of yarn may be damaged/.test(line)),
    lines.join('\n'),
  );
  assert.ok(lines.includes('$ yarn cache clean'));
  assert.deepEqual([steps, installs], [['install', 'build', 'prune'], 2]);
});

test('if the cache cannot be cleared, the error of the failed install is reported', async (t) => {
  const asked: string[] = [];
  const runJobBroken: typeof runJob = async (job, onOutput, signal) => {
    const command = job.argv.find((word) => ['--frozen-lockfile', 'clean'].includes(word));
    if (command === undefined) return runJob(job, onOutput, signal);
    asked.push(command);
    onOutput(
      command === 'clean'
        ? 'error read-only\n'
        : 'error There should only be one folder in a package cache\n',
    );
    return { code: 1, signal: null, timedOut: false, durationMs: 1 };
  };
  const run: BuildRun = { steps: [], notices: [], lines: [] };
  await assert.rejects(runBuild(await lockedTree(t, 'yarn-1'), { runJob: runJobBroken }, run), {
    code: 'install_failed',
    message: /There should only be one folder/,
  });
  assert.deepEqual(asked, ['--frozen-lockfile', 'clean']);
  assert.ok(
    run.lines.some((line) => /^The cache was not cleared: (?:.|\n)*read-only/.test(line)),
    run.lines.join('\n'),
  );
});

test('packageManager selects the version, also for scripts that call it (thorough)', async (t) => {
  const directory = await lockedTree(t, 'pnpm-8', {
    packageManager: 'pnpm@8.15.9+sha1.ignored',
    scripts: { build: 'pnpm --version > built.txt' },
  });
  await runBuild(directory);
  assert.equal(await readFile(join(directory, 'built.txt'), 'utf8'), '8.15.9\n');
});
