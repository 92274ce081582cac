import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decideStart } from '../../src/build/start-command/start-plan.ts';
import { planBackground } from '../../src/deploy/publish.ts';
import { appSettings, writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('the log of a deploy lists background processes and scheduled jobs', async (t) => {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, { 'server.js': '', 'worker.js': '', 'bot.js': '' });
  const lines: string[] = [];
  const deployment = { tree, log: (line: string) => lines.push(line), notice: () => assert.fail() };
  const settings = appSettings({
    processes: { worker: { command: 'node worker.js', count: 2 }, bot: 'node bot.js' },
    cron: [
      { name: 'report', schedule: '0 6 * * mon-fri', command: 'x' },
      { schedule: '@daily', request: '/x' },
    ],
  });
  const background = await planBackground(deployment, settings, await decideStart(tree, settings));
  assert.deepEqual(
    background.map(({ name, script }) => [name, script]),
    [
      ['worker', 'worker.js'],
      ['bot', 'bot.js'],
    ],
  );
  assert.deepEqual(lines, [
    'also runs worker (2 processes): worker.js',
    'also runs bot: bot.js',
    'runs at set times: report (0 6 * * mon-fri), cron-2 (@daily)',
  ]);
  lines.length = 0;
  const none = appSettings();
  await planBackground(deployment, none, await decideStart(tree, none));
  assert.deepEqual(lines, []);
});
