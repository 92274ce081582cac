import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  completeBackground,
  completeStart,
  decideStart,
} from '../../../src/build/start-command/start-plan.ts';
import { appSettings, writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

type Processes = NonNullable<Parameters<typeof appSettings>[0]>['processes'];

async function tree(t: TestContext, files: Record<string, unknown>): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'server.js': '', ...files });
  return directory;
}

async function resolve(t: TestContext, files: Record<string, unknown>, processes: Processes) {
  const directory = await tree(t, files);
  const settings = appSettings({ processes });
  const decision = await decideStart(directory, settings);
  const background = await completeBackground(directory, settings, decision);
  return { background, notices: decision.notices };
}

test('an app without background processes has none', async (t) => {
  assert.deepEqual(await resolve(t, {}, {}), { background: [], notices: [] });
});

test('a background process is a file, a script of package.json or a program of a package', async (t) => {
  const { background } = await resolve(
    t,
    {
      'package.json': {
        scripts: { jobs: 'A=1 node --trace-warnings jobs.js -x' },
        dependencies: { bull: '1' },
      },
      'mail.js': '',
      'jobs.js': '',
      'node_modules/bull/package.json': { bin: 'cli.js' },
      'node_modules/bull/cli.js': '',
    },
    {
      mail: 'PORT=9 node mail',
      jobs: { command: 'B=2 npm run jobs -- -y', count: 2, overlap: true },
      queue: 'bull work',
    },
  );
  const alone = { count: 1, overlap: false, args: [], nodeArgs: [], env: {} };
  assert.deepEqual(background, [
    { ...alone, name: 'mail', script: 'mail.js', env: { PORT: '9' } },
    {
      name: 'jobs',
      count: 2,
      overlap: true,
      script: 'jobs.js',
      args: ['-x', '-y'],
      nodeArgs: ['--trace-warnings'],
      env: { A: '1', B: '2' },
    },
    { ...alone, name: 'queue', script: 'node_modules/bull/cli.js', args: ['work'] },
  ]);
});

test('errors name the background process', async (t) => {
  const manifest = { scripts: { jobs: 'node jobs.js' } };
  const fails = (command: string, code: string, message: string) =>
    assert.rejects(resolve(t, { 'package.json': manifest }, { worker: command }), {
      code,
      message,
    });
  const worker = 'processes.worker in sluice.json';
  await fails('node worker.js', 'nothing_to_run', `${worker} runs worker.js, which does not exist`);
  await fails(
    'npm run jobs',
    'nothing_to_run',
    `${worker} (the script "jobs" of package.json) runs jobs.js, which does not exist`,
  );
  await fails(
    'npm run jbos',
    'unsupported_start',
    `${worker} is \`npm run jbos\`: package.json has no script "jbos"`,
  );
  await fails(
    'bull work',
    'unsupported_start',
    `${worker} is \`bull work\`: no package in dependencies has a program "bull"`,
  );
});

test('a background process without a file runs in a shell', async (t) => {
  const scripts = { both: 'A=1 node a.js | node b.js' };
  const files = { 'package.json': { scripts }, run: '#!/bin/sh' };
  const { background } = await resolve(t, files, { both: 'npm run both', run: './run -x' });
  const alone = { count: 1, overlap: false, script: '', args: [], nodeArgs: [], env: {} };
  assert.deepEqual(background, [
    { ...alone, name: 'both', exec: { command: 'A=1 node a.js | node b.js', reason: 'it contains "|"' } },
    { ...alone, name: 'run', exec: { command: './run -x', reason: 'run is a script of another program' } },
  ]);
});

test('a command before a background process runs once, before the workers start', async (t) => {
  const scripts = { prejobs: 'node a.js', jobs: 'node b.js && node jobs.js', postjobs: 'echo hi' };
  const directory = await tree(t, { 'package.json': { scripts }, 'jobs.js': '' });
  const settings = appSettings({ processes: { jobs: 'npm run jobs' } });
  const decision = await decideStart(directory, settings);
  assert.deepEqual(
    decision.notices.map(({ code }) => code),
    ['start_hook_ignored'],
  );
  const { before } = await completeStart(directory, settings, decision);
  assert.deepEqual(before, ['node a.js', 'node b.js']);
});

test('a background process may be a program in another language', async (t) => {
  const directory = await tree(t, { 'package.json': {}, 'x.py': '', tool: '\0ELF' });
  const settings = appSettings({ processes: { python: 'cd . && python3 x.py', binary: './tool -x' } });
  const plans = await completeBackground(directory, settings, await decideStart(directory, settings));
  assert.deepEqual(
    plans.map(({ exec }) => exec?.command),
    ['python3 x.py', './tool -x'],
  );
});

test('a background process that cannot run is rejected before the install', async (t) => {
  const check = async (processes: Processes, files: Record<string, unknown> = {}) =>
    decideStart(await tree(t, files), appSettings({ processes }));
  const missing = {
    code: 'nothing_to_run',
    message: 'processes.worker in sluice.json runs worker.js, which does not exist',
  };
  await assert.rejects(check({ worker: { count: 1 } }), {
    code: 'invalid_settings',
    message: 'processes.worker has no command',
  });
  await assert.rejects(check({ worker: 'node worker.js' }), missing);
  await assert.rejects(check({ worker: 'node worker.js' }, { 'package.json': {} }), missing);
  const dev = { scripts: { build: 'nx build' } };
  await assert.rejects(check({ worker: 'bee work' }, { 'package.json': dev }), {
    code: 'unsupported_start',
    message: 'processes.worker in sluice.json is `bee work`: no package in dependencies has a program "bee"',
  });
  await check({ worker: 'node worker.js' }, { 'worker.js': '' });
  await check({ worker: 'node dist/worker.js' }, { 'package.json': { scripts: { build: 'tsc' } } });
  await check({ worker: 'bull' }, { 'package.json': { dependencies: { bull: '1' } } });
});
