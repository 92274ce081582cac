import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planDeploy } from '../../../src/build/plan.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { type Files, writeTree } from '../../support/tree.ts';

const machine = {
  nodes: { own: process.versions.node, list: async () => [process.versions.node] },
  cores: 4,
};

const connecting = `const { Client } = require('discord.js'); new Client().login(process.env.TOKEN);`;
const listening = `require('node:http').createServer().listen(process.env.PORT)`;
const bot = (dependencies: string[], code: string, others: Files = {}): Files => ({
  'package.json': {
    scripts: { start: 'node bot.js' },
    dependencies: Object.fromEntries(dependencies.map((name) => [name, '1'])),
  },
  'bot.js': code,
  ...others,
});

interface Expected {
  workers: number | 'some';
  processes?: string[];
  notice?: string;
}

const onlyMain: Expected = { workers: 0, processes: ['main'], notice: 'without_workers' };
const withWorkers: Expected = { workers: 'some', processes: [] };

const cases: [what: string, files: Files, expected: Expected][] = [
  ['a bot', bot(['discord.js'], connecting), onlyMain],
  ['a consumer of a queue', bot(['bullmq'], `new (require('bullmq').Worker)('mail', () => {})`), onlyMain],
  [
    'a bot in TypeScript, before its build',
    {
      'package.json': {
        scripts: { build: 'tsc', start: 'node dist/bot.js' },
        dependencies: { telegraf: '4' },
        devDependencies: { typescript: '5' },
      },
      'src/bot.ts': `import { Telegraf } from 'telegraf'; new Telegraf('').launch();`,
    },
    onlyMain,
  ],
  [
    'a bot that only "main" names',
    { 'package.json': { main: 'bot.js', dependencies: { eris: '1' } }, 'bot.js': connecting },
    onlyMain,
  ],
  ['a comment about listen()', bot(['discord.js'], `${connecting} // app.listen() is elsewhere`), onlyMain],
  ['a bot with a server', bot(['discord.js'], connecting + listening), withWorkers],
  [
    'a bot whose import listens',
    bot(['discord.js'], `require('./status'); ${connecting}`, { 'status.js': listening }),
    withWorkers,
  ],
  ['a bot with an HTTP framework', bot(['discord.js', 'express'], connecting), withWorkers],
  ['a bot that gets webhooks', bot(['grammy'], `bot.api.setWebhook(url)`), withWorkers],
  [
    'a program that neither listens nor has a client',
    bot(['lodash'], 'setInterval(() => {}, 1e3)'),
    withWorkers,
  ],
  [
    'a bot with "workers"',
    bot(['discord.js'], connecting, { 'sluice.json': { workers: 1 } }),
    { workers: 1, processes: [] },
  ],
  ['a bot with "port"', bot(['discord.js'], connecting, { 'sluice.json': { port: 3000 } }), withWorkers],
  [
    'a bot as "web" of a Procfile',
    bot(['discord.js'], connecting, { Procfile: 'web: node bot.js' }),
    withWorkers,
  ],
  [
    'workers: 0 without processes',
    bot([], listening, { 'sluice.json': { workers: 0 } }),
    { workers: 0, processes: ['main'] },
  ],
  [
    'workers: 0 without processes, with a file by convention',
    { 'index.js': '', 'sluice.json': { workers: 0 } },
    { workers: 0, processes: ['main'] },
  ],
  [
    'workers: 0 with processes: the start does not run',
    bot([], listening, { 'sluice.json': { workers: 0, processes: { queue: 'node bot.js' } } }),
    { workers: 0, processes: ['queue'] },
  ],
  [
    'workers: 0 with processes and a start of its own',
    bot([], listening, {
      'sluice.json': { workers: 0, start: 'node bot.js', processes: { queue: 'node bot.js' } },
    }),
    { workers: 0, processes: ['queue'], notice: 'start_not_run' },
  ],
  [
    'processes and nothing that starts',
    { 'queue.js': '', 'sluice.json': { processes: { queue: 'node queue.js' } } },
    { workers: 0, processes: ['queue'], notice: 'without_workers' },
  ],
  [
    'a Procfile without "web" that names the start',
    bot([], connecting, { Procfile: 'worker: node bot.js' }),
    { workers: 0, processes: ['worker'], notice: 'without_workers' },
  ],
  [
    'a Procfile without "web" beside a start that listens',
    bot([], listening, { Procfile: 'worker: node bot.js' }),
    { workers: 'some', processes: [] },
  ],
  [
    'a Procfile without "web" and nothing else that starts',
    { 'bot.js': connecting, Procfile: 'worker: node bot.js' },
    { workers: 0, processes: ['worker'], notice: 'without_workers' },
  ],
  [
    'a client beside other processes',
    bot(['discord.js'], connecting, { 'sluice.json': { processes: { queue: 'node bot.js' } } }),
    { workers: 'some', processes: ['queue'] },
  ],
  [
    'a client in a file named server.js',
    { 'package.json': { dependencies: { bull: '4' } }, 'server.js': '' },
    withWorkers,
  ],
  [
    'processes beside a start',
    bot([], listening, { 'sluice.json': { processes: { queue: 'node bot.js' } } }),
    { workers: 'some', processes: ['queue'] },
  ],
];

for (const [what, files, { workers, processes, notice }] of cases) {
  test(`${what}: ${workers === 0 ? 'no workers' : 'workers'}, and ${processes?.join() || 'no processes'}`, async (t) => {
    const directory = await temporaryDirectory(t);
    await writeTree(directory, files);
    const plan = await planDeploy(directory, machine);
    assert.deepEqual(
      plan.start.background.map(({ name }) => name),
      processes,
    );
    if (workers === 'some') assert.ok(plan.workers.count > 0);
    else assert.equal(plan.workers.count, workers);
    const codes = plan.notices
      .map(({ code }) => code)
      .filter((code) => /without_workers|start_not_run/.test(code));
    assert.deepEqual(codes, notice === undefined ? [] : [notice]);
    if (workers === 0) assert.equal(plan.description, `runs without a port: ${processes?.join(', ')}`);
  });
}

for (const [what, files, code] of [
  ['a static site', { 'index.html': '', 'sluice.json': { workers: 0, static: '.' } }, 'unsupported_start'],
  ['nothing to run', { 'README.md': '', 'sluice.json': { workers: 0 } }, 'nothing_to_run'],
  [
    'a request of "cron"',
    {
      'bot.js': '',
      'sluice.json': { workers: 0, start: 'node bot.js', cron: [{ schedule: '* * * * *', request: '/' }] },
    },
    'invalid_settings',
  ],
] as const) {
  test(`an app without workers is rejected with ${what}`, async (t) => {
    const directory = await temporaryDirectory(t);
    await writeTree(directory, files);
    await assert.rejects(planDeploy(directory, machine), { code });
  });
}
