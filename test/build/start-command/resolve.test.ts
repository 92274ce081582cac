import assert from 'node:assert/strict';
import { mkdir, symlink, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkStart } from '../../../src/build/start-command/check.ts';
import { resolveStart } from '../../../src/build/start-command/start-plan.ts';
import { appSettings, writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function tree(t: TestContext, files: Record<string, unknown>): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  return directory;
}

async function resolve(t: TestContext, files: Record<string, unknown>, settings = appSettings()) {
  return await resolveStart(await tree(t, files), settings);
}

test('the setting "start" takes precedence', async (t) => {
  const plan = await resolve(
    t,
    { 'package.json': { scripts: { start: 'node other.js' } }, 'app.js': '', 'server.js': '' },
    appSettings({ start: 'A=1 node --trace-warnings app.js x' }),
  );
  assert.deepEqual(plan, {
    script: 'app.js',
    args: ['x'],
    nodeArgs: ['--trace-warnings'],
    env: { A: '1' },
    from: 'the setting "start"',
    notices: [],
  });
});

test('the start script, "main", server.js and index.js follow in this order', async (t) => {
  const scripts = { start: 'node a.js' };
  const files = { 'a.js': '', 'b.js': '', 'server.js': '', 'index.js': '' };
  const found = async (manifest: unknown, tree: Record<string, unknown> = files) => {
    const { script, from } = await resolve(t, { ...tree, 'package.json': manifest });
    return [script, from];
  };
  assert.deepEqual(await found({ scripts, main: 'b.js' }), ['a.js', '"start" in package.json']);
  assert.deepEqual(await found({ main: 'b.js' }), ['b.js', '"main" in package.json']);
  assert.deepEqual(await found({ main: 'gone.js' }), ['server.js', 'server.js']);
  assert.deepEqual(await found({}, { 'index.js': '' }), ['index.js', 'index.js']);
});

test('a new Nest app starts with its start:prod script and a notice', async (t) => {
  const scripts = { build: 'nest build', start: 'nest start', 'start:prod': 'node dist/main' };
  const devDependencies = { '@nestjs/cli': '12' };
  const directory = await tree(t, { 'package.json': { scripts, devDependencies } });
  await checkStart(directory, appSettings());
  await writeTree(directory, { 'dist/main.js': '' });
  const { script, from, notices } = await resolveStart(directory, appSettings());
  assert.deepEqual([script, from], ['dist/main.js', '"start:prod" in package.json']);
  assert.deepEqual(
    notices.map(({ code }) => code),
    ['start_prod_taken'],
  );
  const { script: set } = await resolveStart(directory, appSettings({ start: 'node dist/main.js' }));
  assert.equal(set, 'dist/main.js');
});

test('any other start script takes precedence over start:prod', async (t) => {
  const scripts = { start: 'node a.js', 'start:prod': 'node b.js' };
  const { script, notices } = await resolve(t, { 'package.json': { scripts }, 'a.js': '', 'b.js': '' });
  assert.deepEqual([script, notices], ['a.js', []]);
});

test('a server.js without package.json is an app', async (t) => {
  const directory = await tree(t, { 'server.js': '' });
  await checkStart(directory, appSettings());
  assert.equal((await resolveStart(directory, appSettings())).script, 'server.js');
});

test('`node` finds files as Node.js does: without extension, by directory, by its main', async (t) => {
  const files = { 'app.js': '', 'dist/index.js': '', 'lib/package.json': { main: 'run' }, 'lib/run.js': '' };
  const script = async (start: string) => (await resolve(t, files, appSettings({ start }))).script;
  assert.equal(await script('node app'), 'app.js');
  assert.equal(await script('node ./dist'), 'dist/index.js');
  assert.equal(await script('node lib'), 'lib/run.js');
});

test('`node .` runs the "main" of package.json', async (t) => {
  const plan = await resolve(t, {
    'package.json': { main: './src/app.js', scripts: { start: 'node .' } },
    'src/app.js': '',
  });
  assert.equal(plan.script, 'src/app.js');
});

test('a file after `node` needs no extension; an executable file needs a first line that names node', async (t) => {
  const files = { 'bin/www': 'require("../app")' };
  const settings = (start: string) => appSettings({ start });
  assert.equal((await resolve(t, files, settings('node bin/www'))).script, 'bin/www');
  await assert.rejects(resolve(t, files, settings('./bin/www')), {
    code: 'unsupported_start',
    message: 'the setting "start" is `./bin/www`: bin/www is not a JavaScript program',
  });
  const marked = { 'bin/www': '#!/usr/bin/env node\n' };
  assert.equal((await resolve(t, marked, settings('./bin/www'))).script, 'bin/www');
});

const withProgram = {
  'package.json': { scripts: { start: 'serve --quiet' }, dependencies: { '@acme/server': '1.0.0' } },
  'node_modules/@acme/server/package.json': { bin: { serve: './bin/serve' } },
};

test('the program of a package resolves to its JavaScript file', async (t) => {
  const plan = await resolve(t, {
    ...withProgram,
    'node_modules/@acme/server/bin/serve': '#!/usr/bin/env node\nrequire("x")',
  });
  assert.equal(plan.script, 'node_modules/@acme/server/bin/serve');
  assert.deepEqual(plan.args, ['--quiet']);
});

test('a program that is not JavaScript is rejected', async (t) => {
  const shell = { ...withProgram, 'node_modules/@acme/server/bin/serve': '#!/bin/sh\nexec x' };
  await assert.rejects(resolve(t, shell), {
    code: 'unsupported_start',
    message:
      '"start" in package.json is `serve --quiet`: node_modules/@acme/server/bin/serve is not a JavaScript program',
  });
});

test('the program of an indirect dependency is found by its link', async (t) => {
  const directory = await tree(t, {
    'package.json': { scripts: { start: 'deep' } },
    'node_modules/deep/cli.js': '',
  });
  await mkdir(join(directory, 'node_modules/.bin'));
  await symlink('../deep/cli.js', join(directory, 'node_modules/.bin/deep'));
  assert.equal((await resolveStart(directory, appSettings())).script, 'node_modules/deep/cli.js');
});

test('odd fields in the package.json of a dependency are ignored', async (t) => {
  const odd = { main: false, dependencies: [], scripts: null, bin: { serve: 'serve.js' } };
  const plan = await resolve(t, {
    ...withProgram,
    'node_modules/@acme/server/package.json': odd,
    'node_modules/@acme/server/serve.js': '',
  });
  assert.equal(plan.script, 'node_modules/@acme/server/serve.js');
});

test('a program that no package has is rejected with a hint', async (t) => {
  await assert.rejects(resolve(t, { 'package.json': { scripts: { start: 'next start' } } }), {
    code: 'unsupported_start',
    message: '"start" in package.json is `next start`: no package in dependencies has a program "next"',
    hint: 'Add the package of next to dependencies (devDependencies are removed before the app runs), or start a file: `node server.js`.',
  });
});

test('a script that names another script is followed', async (t) => {
  const plan = await resolve(t, {
    'package.json': {
      scripts: { start: 'A=1 B=1 npm run serve -- -x', serve: 'B=2 node app.js -y' },
    },
    'app.js': '',
  });
  assert.deepEqual([plan.script, plan.args, plan.env], ['app.js', ['-y', '-x'], { A: '1', B: '2' }]);
});

test('a script that runs itself is rejected', async (t) => {
  const scripts = { start: 'npm run again', again: 'npm start' };
  await assert.rejects(resolve(t, { 'package.json': { scripts } }), {
    code: 'unsupported_start',
    message: '"again" in package.json is `npm start`: the script "start" runs itself',
  });
});

test('prestart and PORT are ignored with notices', async (t) => {
  const plan = await resolve(t, {
    'package.json': { scripts: { prestart: 'echo hi', start: 'PORT=3000 NODE_ENV=x node app.js' } },
    'app.js': '',
  });
  assert.deepEqual(plan.env, { NODE_ENV: 'x' });
  assert.deepEqual(
    plan.notices.map(({ code }) => code),
    ['start_hook_ignored', 'start_port_ignored'],
  );
});

test('a start file that does not exist or is outside the release is rejected', async (t) => {
  const settings = appSettings({ start: 'node dist/main.js' });
  await assert.rejects(resolve(t, {}, settings), {
    code: 'nothing_to_run',
    message: 'the setting "start" runs dist/main.js, which does not exist',
  });
  for (const outside of ['../other/app.js', '/srv/app.js']) {
    await assert.rejects(resolve(t, {}, appSettings({ start: `node ${outside}` })), {
      code: 'unsupported_start',
      message: `the setting "start" is \`node ${outside}\`: ${outside} is outside the release`,
    });
  }
});

test('an app without anything to run is rejected before the install', async (t) => {
  const check = async (files: Record<string, unknown>) => checkStart(await tree(t, files), appSettings());
  await assert.rejects(check({ 'README.md': '' }), {
    code: 'nothing_to_run',
    message: 'there is nothing to run: no package.json, no server.js, no index.js',
  });
  await assert.rejects(check({ 'package.json': { main: 'lib.js' } }), {
    code: 'nothing_to_run',
    message:
      'there is nothing to run: package.json has no "start" script and no file lib.js for its "main", and there is no server.js, no index.js',
  });
  await assert.rejects(check({ 'package.json': { scripts: { start: 'a && b' } } }), {
    code: 'unsupported_start',
  });
});

test('before the install, files of the install and the build need not exist', async (t) => {
  const check = async (files: Record<string, unknown>) => checkStart(await tree(t, files), appSettings());
  await check({ 'package.json': { scripts: { start: 'next start' }, dependencies: { next: '1' } } });
  await check({ 'package.json': { scripts: { start: 'node dist/main.js', build: 'tsc' } } });
  await check({ 'package.json': { main: 'dist/main.js', scripts: { build: 'tsc' } } });
});

test('a missing file that no script writes is rejected before the install', async (t) => {
  const check = async (files: Record<string, unknown>) => checkStart(await tree(t, files), appSettings());
  const start = 'node servr.js';
  await assert.rejects(check({ 'package.json': { scripts: { start } }, 'server.js': '' }), {
    code: 'nothing_to_run',
    message: '"start" in package.json runs servr.js, which does not exist',
  });
  await check({ 'package.json': { scripts: { start, postinstall: 'node make.js' } } });
  await check({ 'package.json': { scripts: { start: 'node node_modules/next/dist/bin/next start' } } });
});

test('a program that only dev dependencies have is rejected before the install', async (t) => {
  const manifest = {
    scripts: { start: 'nx serve', build: 'nx build' },
    dependencies: { express: '5' },
    devDependencies: { nx: '1' },
  };
  const bin = { nx: 'bin/nx.js' };
  const check = async (packages: unknown, changes = {}) =>
    checkStart(
      await tree(t, {
        'package.json': { ...manifest, ...changes },
        ...(packages === undefined ? {} : { 'package-lock.json': { packages } }),
      }),
      appSettings(),
    );
  const rejected = {
    code: 'unsupported_start',
    message: '"start" in package.json is `nx serve`: no package in dependencies has a program "nx"',
  };
  await assert.rejects(check({ 'node_modules/nx': { bin, dev: true } }), rejected);
  await assert.rejects(check(undefined, { dependencies: {} }), rejected);
  // A dependency needs the program, too.
  await check({ 'node_modules/nx': { bin } });
  await check({ 'node_modules/nx': { bin, dev: true }, 'node_modules/kit': { bin } });
  await check(undefined);
  await check(undefined, { dependencies: {}, packageManager: 'yarn@3.8.7' });
  await check(null);
});

test('a package.json that is not valid JSON is rejected', async (t) => {
  await assert.rejects(resolve(t, { 'package.json': '{' }), {
    code: 'invalid_settings',
    message: /^package\.json is not valid JSON/,
  });
  // A script that is not a string is ignored, as npm does.
  await assert.rejects(resolve(t, { 'package.json': { scripts: { start: 5 } } }), { code: 'nothing_to_run' });
});

test('a package.json that is a directory, a loop or huge is rejected', async (t) => {
  const directory = await tree(t, { 'package.json/x': '', 'server.js': '' });
  const rejects = (directory: string, message: string) =>
    assert.rejects(checkStart(directory, appSettings()), { code: 'invalid_settings', message });
  await rejects(directory, 'package.json is not a file');
  const looping = await tree(t, { 'server.js': '' });
  await symlink('package.json', join(looping, 'package.json'));
  await rejects(looping, 'package.json cannot be read: ELOOP');
  const huge = await tree(t, { 'package.json': '{}', 'server.js': '' });
  await truncate(join(huge, 'package.json'), 1024 ** 3);
  await rejects(huge, 'package.json is 1.0 GiB, more than the limit of 4.0 MiB');
});

test('a byte order mark before package.json is ignored', async (t) => {
  const manifest = '\uFEFF{"scripts": {"start": "node app.js"}}';
  assert.equal((await resolve(t, { 'package.json': manifest, 'app.js': '' })).script, 'app.js');
});
