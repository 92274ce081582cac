import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import type { BuildContext } from '../../src/build/build.ts';
import { defaultVersions } from '../../src/build/install/versions.ts';
import { AppError } from '../../src/errors/app-error.ts';
import type { JobResult, JobSpec } from '../../src/protocol/runner.ts';
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

/** Result of a command, and its output. */
type Answer = Partial<JobResult> & { output?: string };

/** Returns a runner that starts no process, and a cache that has npm. */
async function fakeRunner(
  t: TestContext,
  answer: (job: JobSpec, signal: AbortSignal) => Answer | Promise<Answer>,
): Promise<Pick<BuildContext, 'runJob' | 'tools'>> {
  const tools = await temporaryDirectory(t);
  await mkdir(join(tools, `npm@${defaultVersions.npm}/node_modules/.bin`), { recursive: true });
  return {
    tools,
    async runJob(job, onOutput, signal) {
      const { output = '', ...result } = await answer(job, signal);
      onOutput(output);
      return { code: 0, signal: null, timedOut: false, durationMs: 1, ...result };
    },
  };
}

test('a tree without package.json does not change', async (t) => {
  const parent = await tree(t, { dependencies: { ms: '2.1.3' }, scripts: { build: 'touch built' } });
  await writeTree(parent, { 'staging/1/server.js': '' });
  const run = await runBuild(join(parent, 'staging/1'));
  assert.deepEqual(run, emptyRun());
  assert.deepEqual(await readdir(join(parent, 'staging/1')), ['server.js']);
  assert.deepEqual((await readdir(parent)).sort(), ['package.json', 'staging']);
});

test('npm does not run for an app without dependencies and build script', async (t) => {
  const directory = await tree(t, { name: 'plain', scripts: { start: 'node server.js' } });
  const run = await runBuild(directory, { tools: join(directory, 'no-tools') });
  assert.deepEqual(run, emptyRun());
  assert.deepEqual(await readdir(directory), ['package.json']);
});

test('the settings select the build script, or none', async (t) => {
  const directory = await tree(t, { scripts: { build: 'tsc', 'build:server': 'tsc -p server' } });
  const commands: string[] = [];
  const runner = await fakeRunner(t, ({ argv }) => {
    commands.push(argv.slice(1).join(' '));
    return {};
  });
  const run = (command?: string | false) =>
    runBuild(directory, { ...runner, settings: appSettings({ build: { command } }) });
  assert.deepEqual((await run()).steps, ['build']);
  assert.deepEqual((await run('build:server')).steps, ['build']);
  assert.deepEqual(await run(false), emptyRun());
  assert.deepEqual(commands, ['run --prefix=. build', 'run --prefix=. build:server']);
  await assert.rejects(run('make'), {
    code: 'invalid_settings',
    message: 'build.command is "make", but package.json has no such script',
    hint: /Scripts of package\.json: build, build:server\.$/,
  });
});

test('the error of a failed build has the last lines of output, without secrets of the app', async (t) => {
  const directory = await tree(t, { scripts: { build: 'x' } });
  const run = emptyRun();
  const env = { DATABASE_URL: 'postgres://shop:hunter2hunter2@db/shop' };
  const runner = await fakeRunner(t, ({ env }) => ({
    code: 3,
    output: `connecting to ${env['DATABASE_URL']}\n`,
  }));
  await assert.rejects(runBuild(directory, { env, ...runner }, run), (error) => {
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

test('the list of install scripts of npm is not logged; skipped scripts are logged even if the build fails', async (t) => {
  const directory = await tree(t, { scripts: { build: 'x' } });
  const output = `npm warn install-scripts 1 package had install scripts blocked because
npm warn install-scripts   esbuild@0.25.0 (postinstall: node install.js)
`;
  const run = emptyRun();
  const runner = await fakeRunner(t, () => ({ code: 1, output }));
  await assert.rejects(runBuild(directory, runner, run), { code: 'build_failed' });
  assert.doesNotMatch(run.lines.join('\n'), /install-scripts/);
  assert.ok(run.lines.includes('Install scripts were not run: esbuild@0.25.0'), run.lines.join('\n'));
});

test('install and build share one time limit', async (t) => {
  const directory = await tree(t, { scripts: { prepare: 'x', build: 'x' } });
  const timeouts: number[] = [];
  const runner = await fakeRunner(t, async ({ argv, timeout }) => {
    timeouts.push(timeout);
    if (argv.includes('build')) return { code: null, signal: 'SIGTERM', timedOut: true };
    await new Promise((resolve) => setTimeout(resolve, 60));
    return {};
  });
  const settings = appSettings({ build: { timeout: '8s' } });
  await assert.rejects(runBuild(directory, { ...runner, settings }), {
    code: 'build_timeout',
    message:
      'install and build took longer than 8.0 s: Sluice ended `npm run --prefix=. build` and its processes',
  });
  const [install = 0, build = 0, ...more] = timeouts;
  assert.ok(install <= 8000 && build <= install - 50 && more.length === 0, `${timeouts}`);
});

test('a cancelled build ends with the reason of the cancellation', async (t) => {
  const directory = await tree(t, { scripts: { build: 'x' } });
  const controller = new AbortController();
  const reason = new AppError('superseded', 'a newer deploy took its place');
  const runner = await fakeRunner(t, (_job, signal) => {
    controller.abort(reason);
    signal.throwIfAborted();
    return {};
  });
  const run = emptyRun();
  await assert.rejects(runBuild(directory, { ...runner, signal: controller.signal }, run), reason);
  assert.equal(
    run.lines.at(-1),
    'Sluice ended `npm run --prefix=. build` and its processes: a newer deploy took its place',
  );
});

test('a clock that is set forward does not shorten the time limit', async (t) => {
  const directory = await tree(t, { scripts: { prepare: 'x', build: 'x' } });
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const timeouts: number[] = [];
  const runner = await fakeRunner(t, ({ timeout }) => {
    timeouts.push(timeout);
    t.mock.timers.setTime(Date.now() + 24 * 3600 * 1000);
    return {};
  });
  await runBuild(directory, runner);
  assert.equal(timeouts.length, 2);
  assert.ok((timeouts[1] ?? 0) > 14 * 60_000, `${timeouts}`);
});

test('a workspace builds at its top, or else the member that is the app, after the members that it needs', async (t) => {
  const files = {
    'apps/web/package.json': { name: 'web', dependencies: { ui: '*' }, scripts: { build: 'x', bundle: 'x' } },
    'packages/ui/package.json': { name: 'ui', scripts: { build: 'x' } },
    'packages/other/package.json': { name: 'other', scripts: { build: 'x' } },
  };
  const run = async (scripts: object, settings: Parameters<typeof appSettings>[0]) => {
    const directory = await tree(t, { workspaces: ['apps/*', 'packages/*'], scripts }, files);
    const jobs: string[] = [];
    const runner = await fakeRunner(t, ({ argv, workingDirectory }) => {
      if (argv[1] === 'run') jobs.push(`${workingDirectory}: ${argv.slice(3).join(' ')}`);
      return {};
    });
    await runBuild(directory, { ...runner, settings: appSettings(settings) });
    return jobs;
  };
  assert.deepEqual(await run({}, { directory: 'apps/web' }), ['packages/ui: build', 'apps/web: build']);
  assert.deepEqual(await run({ build: 'x' }, { directory: 'apps/web' }), [': build']);
  const bundle = { directory: 'apps/web', build: { command: 'bundle' } };
  assert.deepEqual(await run({}, bundle), ['packages/ui: build', 'apps/web: bundle']);
  assert.deepEqual(await run({}, {}), []);
  await assert.rejects(run({}, { directory: 'apps/web', build: { command: 'make' } }), {
    code: 'invalid_settings',
    hint: /Scripts of package\.json: build, bundle\.$/,
  });
});

test('a workspace of pnpm is installed even if its top has no dependencies', async (t) => {
  const directory = await tree(
    t,
    { packageManager: 'npm@11.19.1' },
    { 'pnpm-workspace.yaml': 'packages:\n  - apps/*\n' },
  );
  const run = await runBuild(directory, await fakeRunner(t, () => ({})));
  assert.deepEqual(run.steps, ['install']);
});

test('"directory" of a package outside of the workspace is installed there', async (t) => {
  const dependencies = { ms: '2.1.3' };
  const directory = await tree(t, { dependencies }, { 'server/package.json': { dependencies } });
  const jobs: (string | undefined)[] = [];
  const runner = await fakeRunner(t, ({ workingDirectory }) => {
    jobs.push(workingDirectory);
    return {};
  });
  await runBuild(directory, { ...runner, settings: appSettings({ directory: 'server' }) });
  assert.deepEqual(jobs, ['server']);
});

test('a build finds no git repository above the release, and knows its commit and branch', async (t) => {
  const parent = await tree(t, {});
  await promisify(execFile)('git', ['init', '--quiet', parent]);
  const directory = join(parent, '.sluice/staging/1');
  await mkdir(join(directory, 'client'), { recursive: true });
  // As simple-git-hooks does, which searches for .git without git.
  const install =
    'until test -e .git; do cd ..; done; mkdir -p .git/hooks; echo exit > .git/hooks/pre-commit';
  const preBuild = `cd client; git rev-parse --git-dir 2>&1; (${install}); echo "$SLUICE_COMMIT on $SLUICE_BRANCH, CI=$CI"`;
  const about = { SLUICE_COMMIT: 'c0ffee', SLUICE_BRANCH: 'main' };
  const { lines } = await runBuild(directory, { settings: appSettings({ hooks: { preBuild } }), about });
  assert.match(lines[1] ?? '', /^fatal: not a git repository/);
  assert.equal(lines.at(-1), 'c0ffee on main, CI=');
  assert.ok(!(await readdir(join(parent, '.git/hooks'))).includes('pre-commit'));
  assert.deepEqual(await readdir(directory), ['client']);
});

test('heroku-postbuild replaces build, unless the settings name a script', async (t) => {
  const directory = await tree(t, { scripts: { build: 'x', 'heroku-postbuild': 'y' } });
  const built = async (settings: Parameters<typeof appSettings>[0]) => {
    const names: (string | undefined)[] = [];
    const fake = await fakeRunner(t, ({ argv }) => {
      names.push(argv.at(-1));
      return {};
    });
    await runBuild(directory, { ...fake, settings: appSettings(settings) });
    return names;
  };
  assert.deepEqual(await built({}), ['heroku-postbuild']);
  assert.deepEqual(await built({ build: { command: 'build' } }), ['build']);
  assert.deepEqual(await built({ build: { command: false } }), []);
});

test('dev dependencies stay if the settings say so, and if their removal fails, with a notice', async (t) => {
  const directory = await tree(t, { devDependencies: { ms: '2.1.3' } });
  const failing = await fakeRunner(t, ({ argv }) => ({
    code: argv.some((word) => /remove\.ts$/.test(word)) ? 1 : 0,
  }));
  const { notices } = await runBuild(directory, failing);
  assert.deepEqual(
    notices.map(({ code }) => code),
    ['no_lockfile', 'not_pruned'],
  );
  const settings = appSettings({ build: { prune: false } });
  const { steps } = await runBuild(directory, { ...failing, settings });
  assert.deepEqual(steps, ['install']);
});

test('a package whose program runs later stays, with a notice', async (t) => {
  const directory = await tree(t, { devDependencies: { tool: 'file:./tool', other: 'file:./other' } });
  for (const name of ['tool', 'other']) {
    await writeTree(join(directory, 'node_modules', name), { 'package.json': { name, bin: 'x.js' } });
  }
  const installed = await fakeRunner(t, () => ({}));
  const run: Pick<BuildContext, 'runJob' | 'tools'> = {
    ...installed,
    runJob: (job, ...rest) => (job.argv[0] === process.execPath ? runJob : installed.runJob)(job, ...rest),
  };
  const settings = appSettings({ hooks: { preSwitch: 'npx tool up' } });
  const { notices, lines } = await runBuild(directory, { ...run, settings });
  assert.match(notices.at(-1)?.message ?? '', /: tool$/);
  assert.ok(lines.includes('removed 1 package that only devDependencies need'), lines.join('\n'));
  assert.deepEqual(await readdir(join(directory, 'node_modules')), ['tool']);
});
