import assert from 'node:assert/strict';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { BuildContext } from '../../src/build/build.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { appSettings, type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { runJob } from '../support/jobs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

async function tree(t: TestContext, manifest: unknown, files: Record<string, unknown> = {}): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': manifest, ...files });
  return directory;
}

function emptyRun(): BuildRun {
  return { steps: [], notices: [], lines: [] };
}

test('A tree without package.json does not change', async (t) => {
  const parent = await tree(t, { dependencies: { ms: '2.1.3' }, scripts: { build: 'touch built' } });
  await writeTree(parent, { 'staging/1/server.js': '' });
  const run = await runBuild(join(parent, 'staging/1'));
  assert.deepEqual(run, emptyRun());
  assert.deepEqual(await readdir(join(parent, 'staging/1')), ['server.js']);
  assert.deepEqual((await readdir(parent)).sort(), ['package.json', 'staging']);
});

test('A workspace in a directory above is not installed instead of the release', async (t) => {
  const parent = await tree(
    t,
    { private: true, workspaces: ['**'], dependencies: { 'is-number': '7.0.0' } },
    { 'pnpm-workspace.yaml': 'packages: ["**"]\n', 'yarn.lock': '' },
  );
  for (const packageManager of ['npm@11.19.1', 'pnpm@10.34.9', 'yarn@4.18.1']) {
    const directory = join(parent, packageManager);
    await mkdir(directory);
    await writeTree(directory, {
      'package.json': { name: 'app', packageManager, dependencies: { ms: '2.1.3' } },
    });
    await runBuild(directory);
    assert.ok((await readdir(join(directory, 'node_modules'))).includes('ms'), packageManager);
    assert.ok(!(await readdir(parent)).includes('node_modules'), packageManager);
  }
});

test('npm does not run for an app without dependencies and build script', async (t) => {
  const directory = await tree(t, { name: 'plain', scripts: { start: 'node server.js' } });
  const run = await runBuild(directory, { tools: join(directory, 'no-tools') });
  assert.deepEqual(run, emptyRun());
  assert.deepEqual(await readdir(directory), ['package.json']);
});

test('Install scripts run even without dependencies', async (t) => {
  const directory = await tree(t, { scripts: { postinstall: 'echo made > made.txt' } });
  const { steps, notices } = await runBuild(directory);
  assert.deepEqual([steps, notices], [['install'], []]);
  assert.equal(await readFile(join(directory, 'made.txt'), 'utf8'), 'made\n');
});

test('The build has dev dependencies even if .npmrc and NODE_ENV omit them', async (t) => {
  const directory = await tree(
    t,
    {
      scripts: { build: 'node -e "require(\'is-number\')" && echo "built as $NODE_ENV"' },
      devDependencies: { 'is-number': '7.0.0' },
    },
    { '.npmrc': 'omit=dev\n' },
  );
  const { steps, lines } = await runBuild(directory, { env: { NODE_ENV: 'production' } });
  assert.deepEqual(steps, ['install', 'build', 'prune']);
  assert.ok(lines.includes('built as production'), lines.join('\n'));
  assert.deepEqual(await readdir(join(directory, 'node_modules')), ['.package-lock.json']);
});

test('The settings select the build script, or none', async (t) => {
  const manifest = { scripts: { build: 'echo plain', 'build:server': 'echo server' } };
  const directory = await tree(t, manifest);
  const named = await runBuild(directory, { settings: appSettings({ build: { command: 'build:server' } }) });
  assert.ok(named.lines.includes('server'));
  assert.deepEqual(named.steps, ['build']);
  const none = await runBuild(directory, { settings: appSettings({ build: { command: false } }) });
  assert.deepEqual(none, emptyRun());
  await assert.rejects(runBuild(directory, { settings: appSettings({ build: { command: 'make' } }) }), {
    code: 'invalid_settings',
    message: 'build.command is "make", but package.json has no such script',
    hint: /Scripts of package\.json: build, build:server\.$/,
  });
});

test('The error of a failed build has the last lines of output, without secrets of the app', async (t) => {
  const directory = await tree(t, {
    scripts: { build: 'echo "connecting to $DATABASE_URL" && exit 3' },
  });
  const run = emptyRun();
  const env = { DATABASE_URL: 'postgres://shop:hunter2hunter2@db/shop' };
  await assert.rejects(runBuild(directory, { env }, run), (error) => {
    assert.ok(error instanceof AppError);
    assert.equal(error.code, 'build_failed');
    assert.match(error.message, /^`npm run --prefix=\. build` ended with status 3\n/);
    assert.match(error.message, /^ {2}connecting to ••••••$/m);
    assert.doesNotMatch(error.message + run.lines.join('\n'), /hunter2/);
    return true;
  });
  assert.deepEqual(run.steps, ['build']);
  assert.ok(run.lines.includes('connecting to ••••••'));
});

test('The error of a failed install has the reason', async (t) => {
  const directory = await tree(t, { dependencies: { ms: '99.0.0' } });
  await assert.rejects(runBuild(directory), {
    code: 'install_failed',
    message:
      /^`npm install .*` ended with status 1: the registry does not have a package, or not this version\n[\s\S]*No matching version found for ms@99\.0\.0/,
    hint: /^Check the name and version in package\.json\./,
  });
});

test("The error of an outdated lockfile omits npm's usage", async (t) => {
  const manifest = { name: 'app', version: '1.0.0', dependencies: { ms: '2.1.3' } };
  const lock = { name: 'app', lockfileVersion: 3, packages: { '': { name: 'app', version: '1.0.0' } } };
  const directory = await tree(t, manifest, { 'package-lock.json': lock });
  const run = emptyRun();
  await assert.rejects(runBuild(directory, {}, run), (error) => {
    assert.ok(error instanceof AppError);
    for (const text of [error.message, run.lines.join('\n')]) {
      assert.match(text, /^ *npm error Missing: ms@2\.1\.3 from lock file$/m);
      assert.doesNotMatch(text, /Usage|Clean install|--omit|npm help ci|npm error$/m);
    }
    return true;
  });
});

test('The list of install scripts of npm is not logged; skipped scripts are logged even if the build fails', async (t) => {
  const directory = await tree(
    t,
    { scripts: { build: 'node build.js' } },
    {
      'build.js': `
      console.log('npm warn install-scripts 1 package had install scripts blocked because');
      console.log('npm warn install-scripts   esbuild@0.25.0 (postinstall: node install.js)');
      process.exitCode = 1;
    `,
    },
  );
  const run = emptyRun();
  await assert.rejects(runBuild(directory, {}, run), { code: 'build_failed' });
  assert.doesNotMatch(run.lines.join('\n'), /install-scripts/);
  assert.ok(run.lines.includes('Install scripts were not run: esbuild@0.25.0'), run.lines.join('\n'));
});

test('Install and build share one time limit', async (t) => {
  const directory = await tree(t, { scripts: { prepare: 'sleep 1', build: 'sleep 60' } });
  const jobs: { may: number; took: number }[] = [];
  const changes: Partial<BuildContext> = {
    settings: appSettings({ build: { timeout: '8s' } }),
    async runJob(job, ...rest) {
      const start = performance.now();
      try {
        // On a busy machine, npm could take very long at the priority of a build.
        return await runJob({ ...job, lowPriority: false }, ...rest);
      } finally {
        jobs.push({ may: job.timeout, took: performance.now() - start });
      }
    },
  };
  await assert.rejects(runBuild(directory, changes), {
    code: 'build_timeout',
    message:
      'Install and build took longer than 8.0 s: Sluice ended `npm run --prefix=. build` and its processes',
  });
  const [install, build, ...more] = jobs;
  assert.ok(install && build && more.length === 0);
  assert.ok(install.took > 1000 && build.may <= 8000 - install.took, JSON.stringify(jobs));
});

test('A cancelled build ends with the reason of the cancellation', async (t) => {
  const directory = await tree(t, { scripts: { build: 'echo started && sleep 60' } });
  const controller = new AbortController();
  const reason = new AppError('superseded', 'a newer deploy took its place');
  const log = (line: string) => {
    if (line === 'started') controller.abort(reason);
  };
  await assert.rejects(runBuild(directory, { log, signal: controller.signal }), reason);
});

test('The error names a missing npm', async (t) => {
  const directory = await tree(t, { dependencies: { ms: '2.1.3' } });
  const path = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = path;
  });
  process.env['PATH'] = directory;
  await assert.rejects(runBuild(directory, { tools: join(directory, 'tools') }), {
    code: 'install_failed',
    message: `There is no npm in the PATH of the server: ${directory}`,
  });
});

test('A clock that is set forward does not shorten the time limit', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { scripts: { build: 'node -e 0' } } });
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const aDay = 24 * 3600 * 1000;
  const { steps } = await runBuild(directory, { log: () => t.mock.timers.setTime(Date.now() + aDay) });
  assert.deepEqual(steps, ['build']);
});
