import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AppError } from '../../src/errors/app-error.ts';
import { runBuild, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import type { Files } from '../support/tree.ts';

/** Builds a tree whose build fails, with a real npm and shell. */
async function failingBuild(
  t: TestContext,
  build: string,
  files: Files,
  executable: string[] = [],
): Promise<AppError> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { name: 'app', scripts: { build } }, ...files });
  for (const file of executable) await chmod(join(directory, file), 0o755);
  const error = await runBuild(directory).then(
    () => assert.fail('the build succeeded'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof AppError);
  assert.equal(error.code, 'build_failed');
  return error;
}

test('a build script without its exec bit is named, with the command that sets it', async (t) => {
  const script = { 'scripts/build.sh': '#!/bin/sh\necho building\n' };
  const error = await failingBuild(t, './scripts/build.sh', script);
  assert.match(error.message, / build` ended with status 126: scripts\/build\.sh is not executable\n/);
  assert.equal(error.hint, 'Set its exec bit and commit: `git update-index --chmod=+x scripts/build.sh`.');
});

test('a build script with Windows line endings is named', async (t) => {
  const text = 'set -e\r\nif true; then\r\n  echo building\r\nfi\r\n';
  const files = { 'sh.sh': `#!/bin/sh\r\n${text}`, 'env.sh': `#!/usr/bin/env bash\r\n${text}` };
  for (const [build, file] of [
    ['./sh.sh', 'sh.sh'],
    ['./env.sh', 'env.sh'],
    ['sh sh.sh', 'sh.sh'],
    ['bash ./env.sh', 'env.sh'],
  ] as const) {
    const error = await failingBuild(t, build, files, Object.keys(files));
    assert.match(error.message, new RegExp(`: ${file} has Windows line endings \\(CRLF\\)`), build);
    assert.match(error.hint, new RegExp(`sed -i "s/\\\\r\\$//" ${file}`), build);
  }
});

test('a build that needs MD4 gets the option that allows it', async (t) => {
  const files = { 'build.js': "require('node:crypto').createHash('md4');" };
  const error = await failingBuild(t, 'node build.js', files);
  assert.match(error.message, /the app uses MD4/);
  assert.match(error.hint, /sluice env set shop NODE_OPTIONS=--openssl-legacy-provider$/);
});

test('an option that Node.js does not know is named', async (t) => {
  const error = await failingBuild(t, 'node --no-such-option build.js', {});
  assert.match(error.message, /does not know the option --no-such-option/);
});

test('a lockfile that was made on another system is the reason if a binary of Rollup is missing (thorough)', async (t) => {
  const directory = await temporaryDirectory(t);
  const manifest = {
    name: 'app',
    scripts: { build: 'rollup src.js --file dist/app.js' },
    devDependencies: { rollup: '4.40.0' },
  };
  await writeTree(directory, {
    'package.json': manifest,
    'src.js': 'export default 1;',
    '.npmrc': 'omit=optional',
  });
  await assert.rejects(runBuild(directory), {
    code: 'build_failed',
    message: /the lockfile was made on another system and lacks @rollup\/rollup-linux-/,
    hint: /^Delete node_modules and the lockfile, install again, and commit/,
  });
});
