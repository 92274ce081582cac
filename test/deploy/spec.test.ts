import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Environment } from '../../src/apps/environment.ts';
import { saveVariables } from '../../src/apps/variables.ts';
import { ensureEnvironmentState } from '../../src/config/environment-state.ts';
import { generationSpec, type SpecChanges } from '../../src/deploy/spec.ts';
import { noCommit, type ReleaseRecord, type RunPlan } from '../../src/releases/release.ts';
import { workerVariables } from '../../src/runner/instance-variables.ts';
import { appSettings } from '../support/builds.ts';
import { TestService } from '../support/service.ts';

async function newEnvironment(t: TestContext): Promise<Environment> {
  const { appliance } = await TestService.start(t, { keepLogs: 3, logSize: '1M' });
  const id = { app: 'shop', environment: 'production' };
  await ensureEnvironmentState(appliance.paths, id, { firstPort: 20_000, host: '127.0.0.1' });
  await saveVariables(appliance.paths.environment(id).env, { TOKEN: 'hunter2' });
  return new Environment(appliance, id, async () => []);
}

/** Returns the specification of a release with the plan `run`. */
async function specOf(environment: Environment, run: object, changes?: SpecChanges) {
  const { number } = await environment.store.allocate({ kind: 'upload', by: 'local', ...noCommit });
  await environment.store.update(number, { run: run as RunPlan });
  const record = (await environment.store.get(number)) as ReleaseRecord;
  return await generationSpec(environment, record, changes);
}

/** Restart rules of an app without settings. */
const restarts = {
  ...{ autorestart: true, maxRestarts: 16, minUptime: 1000, delay: 100, backoff: true, stopExitCodes: [] },
};

const plain = { script: 'server.js', args: [], nodeArgs: [], env: {}, workers: 2 };

test('the runner gets background processes, restart rules and log settings', async (t) => {
  const environment = await newEnvironment(t);
  const background = {
    name: 'mail',
    count: 2,
    overlap: false,
    args: ['-x'],
    nodeArgs: [],
    env: { A: '1' },
  };
  const cronRestart = '0 3 * * *';
  const cron = [{ schedule: '@daily', request: '/sync' }];
  const settings = appSettings({ maxRestarts: 5, maxMemory: '300M', cronRestart, cron, logOverflow: 'drop' });
  const spec = await specOf(environment, {
    ...plain,
    settings,
    background: [{ ...background, script: 'mail.js' }],
  });
  assert.deepEqual(spec.background, [{ ...background, script: join(spec.directory, 'mail.js') }]);
  assert.deepEqual(spec.restarts, { ...restarts, maxRestarts: 5 });
  assert.equal(spec.maxMemory, 300 * 1024 ** 2);
  assert.deepEqual(spec.cronRestart, { schedule: cronRestart, timezone: null });
  assert.deepEqual(
    spec.cron.map(({ name, action }) => ({ name, action })),
    [{ name: 'cron-1', action: { kind: 'request', method: 'GET', path: '/sync' } }],
  );
  assert.deepEqual(spec.log, {
    directory: environment.paths.logs,
    size: 1024 ** 2,
    schedule: '0 0 * * *',
    keep: 3,
    maxBytes: 1024 ** 3,
    overflow: 'drop',
    secrets: ['hunter2'],
  });
});

test('a background process has settings of its own, and those of the app otherwise', async (t) => {
  const environment = await newEnvironment(t);
  const mail = { name: 'mail', count: 2, overlap: false, script: 'mail.js', args: [], nodeArgs: [], env: {} };
  const settings = appSettings({
    ...{ killTimeout: '2s', maxMemory: '300M', maxRestarts: 5, stopSignal: 'SIGINT' },
    processes: {
      mail: {
        command: 'node mail.js',
        env: { LEVEL: 3, TOKEN: 'public', PORT: 9100, QUIET: true, COLOR: null },
        ...{ killTimeout: '9s', maxMemory: false, autorestart: false, restartDelay: '1s' },
        ...{ stopSignal: 'SIGTERM', shutdownWithMessage: true, instanceVar: 'NR', incrementVar: 'PORT' },
        ...{ cronRestart: '@daily', stopExitCodes: [3], restartBackoff: false, minUptime: '4s' },
      },
      plain: 'node plain.js',
    },
  });
  const spec = await specOf(environment, {
    ...plain,
    settings,
    background: [mail, { ...mail, name: 'plain', script: 'plain.js' }],
  });
  const { name, count, overlap, args, nodeArgs } = mail;
  assert.deepEqual(spec.background, [
    {
      ...{ name, count, overlap, args, nodeArgs, script: join(spec.directory, 'mail.js') },
      // The value of `sluice env set` takes precedence.
      env: { COLOR: null, LEVEL: '3', PORT: '9100', QUIET: 'true' },
      ...{ killTimeout: 9000, maxMemory: null, shutdownWithMessage: true, stopSignal: 'SIGTERM' },
      ...{ instanceVar: 'NR', incrementVar: 'PORT', cronRestart: { schedule: '@daily', timezone: null } },
      restarts: {
        ...{ autorestart: false, maxRestarts: 5, minUptime: 4000, delay: 1000, backoff: false },
        stopExitCodes: [3],
      },
    },
    {
      ...{ name: 'plain', count, overlap, args, nodeArgs, script: join(spec.directory, 'plain.js') },
      env: {},
    },
  ]);
  assert.deepEqual([spec.killTimeout, spec.stopSignal, spec.incrementVar], [2000, 'SIGINT', null]);
});

test('the limit of the memory of a release is derived from each process', async (t) => {
  const environment = await newEnvironment(t);
  const MiB = 1024 ** 2;
  const job = { overlap: false, script: 'job.js', args: [], nodeArgs: [], env: {} };
  const memory = async (settings: object, count = 1) => {
    const background = [{ ...job, name: 'queue', count }];
    const spec = await specOf(environment, { ...plain, settings: appSettings(settings), background });
    return spec.limits.memory;
  };
  const queue = (settings: object) => ({ processes: { queue: { command: 'node job.js', ...settings } } });
  assert.equal(await memory({ maxMemory: '200M' }), 2 * 4 * 200 * MiB);
  assert.equal(await memory({ maxMemory: '200M', ...queue({ maxMemory: false }) }), null);
  assert.equal(await memory({ maxMemory: '200M', ...queue({ maxMemory: false }) }, 0), 2 * 3 * 200 * MiB);
  assert.equal(
    await memory({ maxMemory: '200M', ...queue({ maxMemory: '1G' }) }),
    2 * (400 + 2 * 1024) * MiB,
  );
  assert.equal(await memory({ ...queue({ maxMemory: '1G' }) }), null);
  assert.equal(await memory({ ...queue({ maxMemory: '1G' }), memoryLimit: '3G' }), 3 * 1024 * MiB);
});

test('a process without a variable of the settings has the usual value of the system', async (t) => {
  const environment = await newEnvironment(t);
  const job = { overlap: false, script: 'job.js', args: [], nodeArgs: [], env: {}, count: 1 };
  const env = { PATH: '/opt/web', TZ: 'Asia/Tokyo', WEB: '1' };
  const removed = { PATH: null, TZ: null, WEB: null };
  const { TZ } = process.env;
  t.after(() => {
    if (TZ === undefined) delete process.env['TZ'];
    else process.env['TZ'] = TZ;
  });
  process.env['TZ'] = 'Europe/Berlin';
  const settings = appSettings({ env, processes: { queue: { command: 'node job.js', env: removed } } });
  const spec = await specOf(environment, { ...plain, settings, background: [{ ...job, name: 'queue' }] });
  assert.deepEqual([spec.env['TZ'], spec.env['PATH']?.split(':').at(-1)], ['Asia/Tokyo', '/opt/web']);
  const own = spec.background[0]?.env;
  assert.deepEqual([own?.['TZ'], own?.['WEB']], ['Europe/Berlin', null]);
  assert.match(own?.['PATH'] ?? '', new RegExp(`:${RegExp.escape(process.env['PATH'] ?? '')}$`));
});

test('with `pm2Variables`, processes have the variables of PM2, with an id for each', async (t) => {
  const environment = await newEnvironment(t);
  const job = { overlap: false, script: 'job.js', args: [], nodeArgs: [], env: {} };
  const background = [
    { ...job, name: 'mail', count: 2 },
    { ...job, name: 'bot', count: 1, directory: 'bots' },
  ];
  const run = { ...plain, background, settings: appSettings({ pm2Variables: true }) };
  const spec = await specOf(environment, run, { env: { instances: 'own' } });
  const { name, instances, exec_mode, pm_cwd, pm_exec_path } = spec.env;
  const script = join(spec.directory, 'server.js');
  assert.deepEqual(
    [name, instances, exec_mode, pm_cwd, pm_exec_path, spec.pmId],
    ['shop', 'own', 'cluster_mode', spec.directory, script, 0],
  );
  assert.deepEqual(
    spec.background.map(({ env, pmId }) => [pmId, env['name'], env['exec_mode'], env['pm_cwd']]),
    [
      [2, 'mail', 'cluster_mode', spec.directory],
      [4, 'bot', 'fork_mode', join(spec.directory, 'bots')],
    ],
  );
  for (const workers of [1, 4]) {
    const scaled = await specOf(environment, run, { workers });
    assert.equal(scaled.workers, workers);
    assert.deepEqual(
      scaled.background.map(({ pmId }) => pmId),
      [2, 4],
    );
    const ofWorkers = Array.from({ length: workers }, (_, at) => workerVariables(scaled, at)['pm_id']);
    assert.deepEqual(ofWorkers, ['0', '1', '5', '6'].slice(0, workers));
  }
  const without = await specOf(environment, { ...run, settings: appSettings() });
  assert.deepEqual(
    [without.env['name'], without.pmId, without.background[0]?.pmId],
    [undefined, null, undefined],
  );
});

test('the values of a trial are masked, and the former values are not', async (t) => {
  const run = { ...plain, settings: appSettings(), background: [] };
  const spec = await specOf(await newEnvironment(t), run, { env: { TOKEN: 'new', OTHER: 'x' } });
  assert.deepEqual(spec.log.secrets, ['new', 'x']);
});

test('a release of an older version runs with defaults for newer settings', async (t) => {
  const environment = await newEnvironment(t);
  const now = appSettings({ drainTimeout: '7s' });
  const known = ['health', 'waitReady', 'bootTimeout', 'settleTime', 'drainTimeout', 'killTimeout', 'hooks'];
  const settings = Object.fromEntries(Object.entries(now).filter(([name]) => known.includes(name)));
  const spec = await specOf(environment, { ...plain, settings, background: [] });
  assert.deepEqual([spec.cron, spec.cronRestart, spec.maxMemory], [[], null, null]);
  assert.deepEqual([spec.restarts.maxRestarts, spec.stuckTimeout, spec.drainTimeout], [16, 10_000, 7000]);
  assert.equal(spec.log.overflow, 'wait');
  assert.deepEqual(
    [spec.restarts, spec.shutdownWithMessage, spec.instanceVar, spec.incrementVar, spec.pmId],
    [restarts, false, 'NODE_APP_INSTANCE', null, null],
  );
});

test('a record with a damaged plan does not hide other releases', async (t) => {
  const environment = await newEnvironment(t);
  const { number } = await environment.store.allocate({ kind: 'upload', by: 'local', ...noCommit });
  const { record } = environment.paths.staged(number);
  await writeFile(record, JSON.stringify({ number, liveAt: null, error: null }));
  assert.equal((await environment.store.list()).length, 1);
});

test('processes find the programs of packages and of the package manager, and know their commit', async (t) => {
  const environment = await newEnvironment(t);
  const { tools } = environment.appliance.paths;
  const settings = { ...appSettings(), directory: 'apps/web' };
  const path = ['pnpm@10.34.9/node_modules/.bin'];
  const managerEnv = { SKIP_YARN_COREPACK_CHECK: '1' };
  const source = { kind: 'git', by: 'local', ...noCommit, commit: 'c0ffee', branch: 'main' } as const;
  const { number } = await environment.store.allocate(source);
  const run = { ...plain, settings, background: [], path, managerEnv } as RunPlan;
  const record = await environment.store.update(number, { run });
  const { directory, env, node } = await generationSpec(environment, record);
  assert.deepEqual(env['PATH']?.split(':').slice(0, 5), [
    join(directory, 'apps/web/node_modules/.bin'),
    join(directory, 'apps/node_modules/.bin'),
    join(directory, 'node_modules/.bin'),
    join(tools, 'pnpm@10.34.9/node_modules/.bin'),
    dirname(node),
  ]);
  const { SLUICE_COMMIT: commit, SLUICE_BRANCH: branch, SKIP_YARN_COREPACK_CHECK: skip } = env;
  assert.deepEqual([commit, branch, skip], ['c0ffee', 'main', '1']);

  // A record of an earlier version names no package manager.
  const old = await specOf(environment, { ...plain, settings: appSettings(), background: [] });
  assert.ok(old.env['PATH']?.startsWith(`${join(old.directory, 'node_modules/.bin')}:${dirname(node)}:`));
  assert.equal(old.env['SLUICE_COMMIT'], undefined);
});
