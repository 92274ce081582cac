import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { releaseSettings } from '../../src/config/app-directory.ts';
import { loadAppSettings, topOf } from '../../src/config/app-settings.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { type Files, writeTree } from '../support/tree.ts';

async function treeOf(t: TestContext, files: Files): Promise<string> {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, files);
  return tree;
}

const settings = {
  workers: 4,
  maxMemory: '300M',
  hooks: { preSwitch: 'npm run migrate', postSwitch: 'npm run warm' },
  processes: { queue: { command: 'node queue.js', count: 3 } },
  environments: {
    staging: {
      workers: 1,
      hooks: { preSwitch: 'npm run reset' },
      health: { path: '/staging' },
      processes: { queue: { count: 1 }, mail: 'node mail.js' },
    },
    production: { maxMemory: '600M' },
  },
};

test('the settings of an environment take precedence over those outside', async (t) => {
  const tree = await treeOf(t, { 'sluice.json': settings });
  const staging = await releaseSettings(tree, '', { environment: 'staging' });
  const { workers, maxMemory, hooks, health, processes } = staging.settings;
  assert.deepEqual([workers, maxMemory, health.path], [1, 300 * 1024 ** 2, '/staging']);
  assert.deepEqual([hooks.preSwitch, hooks.postSwitch], ['npm run reset', 'npm run warm']);
  const { queue, mail } = processes;
  assert.deepEqual([queue?.command, queue?.count], ['node queue.js', 1]);
  assert.deepEqual([mail?.command, mail?.count], ['node mail.js', 1]);
  const production = (await releaseSettings(tree, '')).settings;
  assert.deepEqual([production.workers, production.maxMemory], [4, 600 * 1024 ** 2]);
  assert.equal(production.processes['queue']?.count, 3);
  const preview = (await releaseSettings(tree, '', { environment: 'preview' })).settings;
  assert.deepEqual([preview.workers, preview.maxMemory], [4, 300 * 1024 ** 2]);
});

test('the origin of a setting names the environment', async (t) => {
  const tree = await treeOf(t, { 'package.json': { sluice: settings } });
  const { origins } = await releaseSettings(tree, '', { environment: 'production' });
  assert.deepEqual(
    [origins['maxMemory'], origins['workers']],
    ['environments.production in "sluice" in package.json', '"sluice" in package.json'],
  );
});

test('other sources of settings follow those of the app, and name a start', async (t) => {
  const tree = await treeOf(t, { 'sluice.json': { directory: 'api', workers: 2 }, 'api/x.js': '' });
  const layers = async ({ directory }: { directory: string }) => [
    { source: 'first', value: { start: 'node a.js', workers: 8, port: 3000 } },
    { source: 'second', value: { start: 'node b.js', port: 4000, directory: 'x' } },
    { source: directory, value: { maxRestarts: 1 } },
  ];
  const found = await releaseSettings(tree, '', { layers });
  const { workers, port, start, maxRestarts } = found.settings;
  assert.deepEqual([workers, port, start, maxRestarts], [2, 3000, undefined, 1]);
  assert.deepEqual(found.starts, [
    { text: 'node a.js', from: 'start in first' },
    { text: 'node b.js', from: 'start in second' },
  ]);
  assert.equal(found.origins['maxRestarts'], 'api');
});

test('faults in the settings of any environment are listed with their path', async (t) => {
  const environments = {
    staging: { worker: 1, root: 'x', branches: 'a b', hooks: { preSwitch: '' }, environments: {} },
    'Pre-View': {},
    preview: 5,
  };
  const tree = await treeOf(t, { 'sluice.json': { environments } });
  for (const environment of ['production', 'staging', 'preview']) {
    await assert.rejects(releaseSettings(tree, '', { environment }), {
      code: 'invalid_settings',
      message: `sluice.json has 7 faults:
  environments.staging.hooks.preSwitch: expected a shell command, without NUL characters, got ""
  environments.staging.branches: expected a branch such as "main" or "release/next", got "a b"
  environments.staging.worker: unknown setting (did you mean "workers"?)
  environments.staging.root: unknown setting
  environments.staging.environments: unknown setting (did you mean "env"?)
  environments.Pre-View: expected the name of an environment, such as "staging", got "Pre-View"
  environments.preview: expected Object, got 5`,
    });
  }
});

test('the branches of an environment are those in its settings', async (t) => {
  const tree = await treeOf(t, {
    'sluice.json': {
      branches: { staging: 'old', preview: 'next' },
      environments: { staging: { branches: ['develop', 'qa'] }, production: { branches: 'live' } },
    },
  });
  const { branches } = await loadAppSettings(topOf(tree));
  assert.deepEqual(branches, { staging: ['develop', 'qa'], preview: ['next'], production: ['live'] });
});

test('a branch that deploys into two environments is rejected', async (t) => {
  for (const value of [
    { branches: { staging: 'next', preview: 'next' } },
    { branches: { staging: 'next' }, environments: { preview: { branches: ['next'] } } },
  ]) {
    const tree = await treeOf(t, { 'sluice.json': value });
    await assert.rejects(loadAppSettings(topOf(tree)), {
      message: 'sluice.json has 1 fault:\n  branches: expected branches that each belong to one environment',
    });
  }
});
