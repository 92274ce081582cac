import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { planDeploy } from '../../src/build/plan.ts';
import { processNames } from '../../src/build/process-names.ts';
import { completeBackground } from '../../src/build/start-command/start-plan.ts';
import { evaluateIn } from '../../src/cli/preview/evaluate.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { type Files, writeTree } from '../support/tree.ts';

/** Plans a deploy of a directory, on a machine with two processors. */
function planIn(directory: string) {
  const nodes = { own: process.versions.node, list: async () => [] };
  return planDeploy(directory, { nodes, cores: 2, evaluate: evaluateIn(directory, {}) });
}

const plain = { 'server.js': '', 'mail.js': '', 'jobs.js': '' };

async function planOf(t: TestContext, files: Files) {
  const directory = join(await temporaryDirectory(t), 'app');
  await writeTree(directory, files);
  const plan = await planIn(directory);
  const background = await completeBackground(directory, plan.settings, plan.start);
  return { ...plan, background };
}

/** Returns what runs in the background, by name. */
function processesOf({ background }: Awaited<ReturnType<typeof planOf>>): Record<string, string> {
  const started = background.map(({ name, script, args, exec, count }) => {
    const command = exec?.command ?? [script, ...args].join(' ');
    return [name, count === 1 ? command : `${count} × ${command}`];
  });
  return Object.fromEntries(started);
}

test('processes of a Procfile run in the background, and "release" is the hook preSwitch', async (t) => {
  const Procfile = `# processes
web: node server.js --port $PORT
release: node migrate.js && echo "done: $NODE_ENV"
mail:   node mail.js 'a b'
shell: node mail.js | tee log\r
  indented: node jobs.js
empty:
`;
  const plan = await planOf(t, { ...plain, Procfile });
  assert.match(plan.description, /^starts with server\.js \("web" in Procfile\)$/);
  assert.equal(plan.settings.hooks.preSwitch, 'node migrate.js && echo "done: $NODE_ENV"');
  assert.deepEqual(processesOf(plan), { mail: 'mail.js a b', shell: 'node mail.js | tee log' });
  assert.deepEqual(plan.origins, {
    'hooks.preSwitch': 'Procfile',
    'processes.mail': 'Procfile',
    'processes.shell': 'Procfile',
  });
  assert.deepEqual(plan.notices, []);
});

test('settings of sluice.json take precedence over those of a Procfile', async (t) => {
  const Procfile =
    'web: node other.js\nrelease: echo x\nmail: node mail.js\njobs: node mail.js\nclock: node mail.js\n';
  const settings = {
    start: 'node server.js',
    hooks: { preSwitch: 'npm run migrate' },
    processes: { mail: { count: 3 }, jobs: 'node jobs.js', clock: { count: 0 } },
  };
  const plan = await planOf(t, { ...plain, Procfile, 'sluice.json': settings });
  assert.match(plan.description, /^starts with server\.js \(the setting "start"\)$/);
  assert.equal(plan.settings.hooks.preSwitch, 'npm run migrate');
  assert.deepEqual(processesOf(plan), { mail: '3 × mail.js', jobs: 'jobs.js', clock: '0 × mail.js' });
});

test('a file of PM2 follows a Procfile', async (t) => {
  const apps = [
    { name: 'web', script: 'jobs.js', exec_mode: 'cluster', instances: 3 },
    { name: 'mail', script: 'server.js', instances: 2 },
    { name: 'other-mail', script: 'mail.js' },
    { name: 'clock', script: 'server.js', args: 'clock' },
  ];
  const plan = await planOf(t, {
    ...plain,
    Procfile: 'web: node server.js\nmail: node mail.js\n',
    'ecosystem.config.json': { apps },
  });
  assert.match(plan.description, /"web" in Procfile/);
  assert.equal(plan.workers.count, 3);
  assert.deepEqual(processesOf(plan), { mail: '2 × mail.js', clock: 'server.js clock' });
  assert.equal(plan.origins['processes.mail.count'], 'ecosystem.config.json');
  const notStarted = plan.notices.filter(({ code }) => code === 'process_not_started');
  assert.deepEqual(
    notStarted.map(({ message }) => message),
    ['Sluice does not start other-mail of ecosystem.config.json: mail runs the same command'],
  );
});

test('the start of a file of PM2 precedes package.json, and a Procfile precedes both', async (t) => {
  const scripts = { start: 'node jobs.js' };
  const pm2 = { apps: [{ name: 'x', script: 'mail.js', instances: 2 }] };
  const startOf = async (files: Files) => {
    const all = { ...plain, 'package.json': { scripts }, 'ecosystem.config.json': pm2, ...files };
    return (await planOf(t, all)).description;
  };
  assert.equal(await startOf({}), 'starts with mail.js (start in ecosystem.config.json)');
  assert.equal(
    await startOf({ Procfile: 'web: node server.js\n' }),
    'starts with server.js ("web" in Procfile)',
  );
  assert.equal(
    await startOf({ 'sluice.json': { start: 'node jobs.js' } }),
    'starts with jobs.js (the setting "start")',
  );
});

test('a process of a Procfile that Sluice cannot start is noted', async (t) => {
  const plan = await planOf(t, {
    ...plain,
    Procfile: 'web: node server.js\ngone: node gone.js\nmail: node mail.js\n',
  });
  assert.deepEqual(processesOf(plan), { mail: 'mail.js' });
  assert.deepEqual(
    plan.notices.map(({ code, message }) => [code, message]),
    [
      [
        'process_not_started',
        'Sluice does not start gone: processes.gone in Procfile runs gone.js, which does not exist',
      ],
    ],
  );
});

test('a process that is also the start of the app runs once', async (t) => {
  const Procfile = 'worker: node server.js\nmail: node mail.js\n';
  for (const files of [{}, { 'package.json': { scripts: { start: 'node server.js' } } }]) {
    const plan = await planOf(t, { ...plain, Procfile, ...files });
    assert.deepEqual(processesOf(plan), { mail: 'mail.js' });
  }
});

test('processes that are started with foreman run in the background with its env files', async (t) => {
  const scripts = { start: 'nf start' };
  const files = { ...plain, 'package.json': { scripts }, '.env': 'LEVEL=info\n' };
  const own = await planOf(t, { ...files, Procfile: 'api: node server.js\nMail: node mail.js\n' });
  assert.match(own.description, /^starts with server\.js/);
  assert.deepEqual(processesOf(own), { mail: 'mail.js' });
  assert.deepEqual(own.background[0]?.env, { LEVEL: 'info' });
  const other = await planOf(t, {
    ...files,
    'package.json': { scripts: { start: 'nf start -j ops/Procfile.prod' } },
    'ops/Procfile.prod': 'web: node server.js\nmail: node mail.js\njobs: node jobs.js\nrelease: echo x\n',
    'sluice.json': { processes: { jobs: 'node mail.js' } },
  });
  assert.match(other.description, /^starts with server\.js/);
  assert.deepEqual(processesOf(other), { mail: 'mail.js', jobs: 'mail.js' });
  assert.ok(
    other.notices.some(({ code }) => code === 'process_not_started'),
    'the release process',
  );
});

test('names of processes are valid, different and stable', () => {
  const cases: [string[], string[]][] = [
    [
      ['mail', 'jobs-2'],
      ['mail', 'jobs-2'],
    ],
    [
      ['Mail_Worker', 'mail-worker'],
      ['mail-worker-2', 'mail-worker'],
    ],
    [
      ['web', 'cron', 'Web'],
      ['web-2', 'cron-2', 'web-3'],
    ],
    [
      ['1', '2nd', '__'],
      ['process', 'nd', 'process-2'],
    ],
    [
      ['x'.repeat(60), 'X'.repeat(60)],
      ['x'.repeat(36), `${'x'.repeat(36)}-2`],
    ],
  ];
  for (const [written, names] of cases) assert.deepEqual(processNames(written), names);
});
