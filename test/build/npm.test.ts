import assert from 'node:assert/strict';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AppError } from '../../src/errors/app-error.ts';
import { type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

async function tree(t: TestContext, manifest: unknown, files: Record<string, unknown> = {}): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': manifest, ...files });
  return directory;
}

test('a workspace in a directory above is not installed instead of the release', async (t) => {
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

test('install scripts run even without dependencies', async (t) => {
  const directory = await tree(t, { scripts: { postinstall: 'echo made > made.txt' } });
  const { steps, notices } = await runBuild(directory);
  assert.deepEqual([steps, notices], [['install'], []]);
  assert.equal(await readFile(join(directory, 'made.txt'), 'utf8'), 'made\n');
});

test('the build has dev dependencies even if .npmrc and NODE_ENV omit them', async (t) => {
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

test('the error of a failed install has the reason', async (t) => {
  const directory = await tree(t, { dependencies: { ms: '99.0.0' } });
  await assert.rejects(runBuild(directory), {
    code: 'install_failed',
    message:
      /^`npm install .*` ended with status 1: the registry does not have a package, or not this version\n[\s\S]*No matching version found for ms@99\.0\.0/,
    hint: /^Check the name and version in package\.json\./,
  });
});

test("the error of an outdated lockfile omits npm's usage", async (t) => {
  const manifest = { name: 'app', version: '1.0.0', dependencies: { ms: '2.1.3' } };
  const lock = { name: 'app', lockfileVersion: 3, packages: { '': { name: 'app', version: '1.0.0' } } };
  const directory = await tree(t, manifest, { 'package-lock.json': lock });
  const run: BuildRun = { steps: [], notices: [], lines: [] };
  await assert.rejects(runBuild(directory, {}, run), (error) => {
    assert.ok(error instanceof AppError);
    for (const text of [error.message, run.lines.join('\n')]) {
      assert.match(text, /^ *npm error Missing: ms@2\.1\.3 from lock file$/m);
      assert.doesNotMatch(text, /Usage|Clean install|--omit|npm help ci|npm error$/m);
    }
    return true;
  });
});

test('the error names a missing npm', async (t) => {
  const directory = await tree(t, { dependencies: { ms: '2.1.3' } });
  const path = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = path;
  });
  process.env['PATH'] = directory;
  await assert.rejects(runBuild(directory, { tools: join(directory, 'tools') }), {
    code: 'install_failed',
    message: `npm not found in the PATH of the server: ${directory}`,
  });
});
