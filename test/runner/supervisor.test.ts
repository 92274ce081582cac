import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import fs, { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { AppLog } from '../../src/logs/app-log.ts';
import type { AppLogs } from '../../src/logs/app-logs.ts';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { Cgroups } from '../../src/runner/cgroups/cgroups.ts';
import { noTree } from '../../src/runner/cgroups/tree.ts';
import { prepareCommit } from '../../src/runner/commit.ts';
import { Inboxes } from '../../src/runner/handoff.ts';
import type { Outputs } from '../../src/runner/output/outputs.ts';
import type { ListeningPort } from '../../src/runner/ports/listening-port.ts';
import { AppSupervisor } from '../../src/runner/supervisor.ts';
import type { Orphans } from '../../src/runner/takeover/orphans.ts';
import { bootClock, ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { type FakeClock, FakeWorkers, settled } from '../support/fake-worker.ts';
import { freePort } from '../support/free-port.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

interface Step {
  key: string;
  step: string;
}

/** Supervisor of an environment whose workers and orphans are fakes. The journal has messages, signals and steps. */
async function startSupervisor(t: TestContext, { hasOrphans = false } = {}) {
  const directory = await temporaryDirectory(t);
  const health = createServer((_request, response) => response.end()).listen(0, '127.0.0.1');
  await once(health, 'listening');
  t.after(() => health.close());
  const fakes = new FakeWorkers();
  fakes.protocol = 'http';
  fakes.port = (health.address() as AddressInfo).port;
  const { journal } = fakes;
  const note = (message: unknown) => {
    const { key, step } = message as Step;
    if (key === directory) journal.push(`step ${step}`);
  };
  subscribe('sluice:switch:step', note);
  t.after(() => unsubscribe('sluice:switch:step', note));
  const logged: string[] = [];
  const appLogged: string[] = [];
  const log: Pick<AppLog, 'report'> = { report: async (_origin, text) => void appLogged.push(text) };
  const logs: Record<keyof Pick<AppLogs, 'get' | 'close'>, unknown> = {
    get: () => log,
    close: async () => undefined,
  };
  let areServing = hasOrphans;
  const orphans = {
    gather: async () => void journal.push('orphans gather'),
    serving: () => areServing,
    stateOf: () => 'unknown',
    isDrained: () => false,
    retire: async () => {
      if (!areServing) return;
      areServing = false;
      journal.push('orphans retire');
    },
  };
  const ports = new Set<ListeningPort>();
  const supervisor = new AppSupervisor({
    key: directory,
    runDirectory: directory,
    orphanSocket: join(directory, 'orphans.sock'),
    orphans: orphans as unknown as Orphans,
    records: new ProcessRecords(join(directory, 'processes')),
    cgroups: new Cgroups({ tree: noTree, reason: 'a test', wanted: false }, () => undefined),
    outputs: { open: async () => ({ remove: () => undefined }), descriptors: () => 0 } as unknown as Outputs,
    logs: logs as unknown as AppLogs,
    user: () => undefined,
    endStandbys: async () => undefined,
    safeDirectory: (path) => path,
    log: (message) => logged.push(message),
    spawn: async (options, instance) => {
      const handoff = await options.handoff();
      assert.ok(handoff);
      ports.add(options.port);
      return fakes.spawn({ ...options, instance, handoff, renewals: options.port.renewals });
    },
  });
  t.after(async () => {
    for (const fake of fakes.all) fake.finish();
    const stopped = supervisor.stop();
    // Workers that have retired end a moment after the switch.
    await (fakes.clock as FakeClock).advance(300);
    await stopped;
  });
  const port = await freePort();
  let release = 0;
  const spec = (settings: Partial<GenerationSpec> = {}): GenerationSpec => {
    release += 1;
    return {
      ...{ key: directory, release, directory: join(directory, String(release)), workers: 2 },
      ...{ node: '', nodeArgs: [], script: '', args: [], env: {}, host: '127.0.0.1', port, codePort: 9001 },
      health: { path: '/', headers: {}, status: ['100-499'], interval: 10, timeout: 1000 },
      warmup: { count: 1 },
      ...{
        waitReady: false,
        overlap: true,
        bootTimeout: 1000,
        settleTime: 0,
        drainTimeout: 10_000,
        keepWarm: 0,
        watchTime: 0,
        watchLimits: { deaths: 2, blocked: 3000, responses: 20, points: 5, times: 3 },
        killTimeout: 1000,
      },
      ...{
        stopSignal: null,
        affinity: false,
        maxDraining: 3,
        maxMemory: null,
        stuckTimeout: 0,
        cronRestart: null,
        shutdownWithMessage: false,
        instanceVar: 'NODE_APP_INSTANCE',
        incrementVar: null,
        pmId: null,
      },
      restarts: {
        maxRestarts: 16,
        minUptime: 1000,
        delay: 100,
        stopExitCodes: [],
        autorestart: true,
        backoff: true,
      },
      limits: { memory: null, processes: null, cpuWeight: 100 },
      ...{ background: [], cron: [] },
      log: { directory, size: 1, schedule: '', keep: 1, maxBytes: 1, overflow: 'wait', secrets: [] },
      paths: {
        current: join(directory, 'current'),
        generation: join(directory, 'generation'),
        cron: join(directory, 'cron'),
      },
      ...settings,
    };
  };
  const start = async (settings?: Partial<GenerationSpec>) =>
    (await supervisor.startGeneration(spec(settings), () => undefined, new AbortController().signal))
      .generation;
  const deploy = async (settings?: Partial<GenerationSpec>) => supervisor.switch(await start(settings));
  const committed = () => JSON.parse(readFileSync(join(directory, 'generation'), 'utf8')).release as number;
  return {
    directory,
    port,
    supervisor,
    fakes,
    orphans,
    ports,
    journal,
    logged,
    appLogged,
    start,
    deploy,
    committed,
  };
}

test('without overlap, a generation starts only after the last worker of an earlier runner has ended', async (t) => {
  const { supervisor, directory, fakes, journal, start, deploy } = await startSupervisor(t);
  await deploy();
  const drains = spawn('/bin/sleep', ['60']);
  t.after(() => drains.kill());
  const pid = drains.pid as number;
  const records = new ProcessRecords(join(directory, 'processes'));
  records.add('worker', supervisor.key, pid, { drainTimeout: 60_000, retiredAt: bootClock() });
  const starting = start({ overlap: false });
  await waitFor(() => journal.filter((line) => line.endsWith('SIGTERM')).length === 2);
  await settled();
  assert.equal(fakes.all.length, 2);
  drains.kill();
  await starting;
  assert.equal(fakes.all.length, 4);
});

test('a generation that cannot be made, or whose inboxes take the last descriptors, leaves nothing open', async (t) => {
  const { supervisor, start } = await startSupervisor(t);
  const closed = t.mock.method(Inboxes.prototype, Symbol.dispose);
  const failing = t.mock.method(Cgroups.prototype, 'generation', () => {
    throw new Error('no cgroup');
  });
  await assert.rejects(start({ affinity: true }), /no cgroup/);
  assert.equal(closed.mock.callCount(), 1);
  assert.equal(supervisor.status().descriptors, 0);
  failing.mock.restore();
  const stat = fs.statSync;
  let checks = 0;
  t.mock.method(fs, 'statSync', (path: string) => {
    if (path !== '/proc/self/fd') return stat(path);
    checks += 1;
    return { size: checks === 1 ? 1 : 1e9 };
  });
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  syncBuiltinESMExports();
  await assert.rejects(start({ affinity: true }), { code: 'EMFILE' });
  assert.equal(closed.mock.callCount(), 2);
});

test('a generation is on standby until the switch, active until the next one, then draining, then gone', async (t) => {
  const { supervisor, fakes, start } = await startSupervisor(t);
  fakes.behavior = () => ({ requests: ['GET /slow'] });
  const first = await start();
  assert.equal(supervisor.status().active, null);
  assert.deepEqual(
    supervisor.status().workers.map(({ state }) => state),
    ['ready', 'ready'],
  );
  await supervisor.switch(first);
  assert.equal(supervisor.status().active?.release, 1);
  assert.equal(supervisor.status().state, 'running');
  await supervisor.switch(await start());
  assert.equal(supervisor.status().active?.release, 2);
  assert.deepEqual(supervisor.status().draining, [1]);
  for (const fake of fakes.all.slice(0, 2)) fake.finish();
  await settled();
  await (fakes.clock as FakeClock).advance(300);
  assert.deepEqual(supervisor.status().draining, []);
  assert.deepEqual(
    supervisor.status().workers.map(({ release }) => release),
    [2, 2],
  );
});

test('a switch retires all old workers, commits, opens all new workers, and hands off, in this order', async (t) => {
  const { fakes, deploy, start, supervisor, committed, appLogged } = await startSupervisor(t);
  await deploy();
  fakes.behavior = () => ({ requests: ['GET /slow'] });
  const second = await start();
  fakes.take();
  await supervisor.switch(second);
  await settled();
  await (fakes.clock as FakeClock).advance(300);
  const journal = fakes.take();
  assert.deepEqual(
    journal.filter((line) => !line.endsWith('handOff')),
    [
      'step retire',
      '1.0 retire',
      '1.1 retire',
      'step commit',
      'step open',
      '2.0 open',
      '2.1 open',
      'step opened',
      'step live',
      '1.0 SIGTERM',
      '1.1 SIGTERM',
    ],
  );
  assert.ok(journal.indexOf('1.0 handOff') > journal.indexOf('2.1 open'));
  assert.equal(committed(), 2);
  assert.deepEqual(appLogged, ['release 1 is live', 'release 2 is live']);
});

test('if the commit fails, the old workers open again, and nothing of the new generation is left', async (t) => {
  const { directory, fakes, deploy, start, supervisor, committed } = await startSupervisor(t);
  await deploy();
  const second = await start();
  const path = join(directory, 'generation');
  rmSync(path);
  mkdirSync(join(path, 'obstacle'), { recursive: true });
  fakes.take();
  await assert.rejects(supervisor.switch(second), { code: 'switch_failed' });
  assert.deepEqual(fakes.take(), [
    'step retire',
    '1.0 retire',
    '1.1 retire',
    'step commit',
    '1.0 open',
    '1.1 open',
    '2.0 SIGKILL',
    '2.1 SIGKILL',
  ]);
  const { active, workers } = supervisor.status();
  assert.equal(active?.release, 1);
  assert.deepEqual(
    workers.map(({ release, state }) => `${release} ${state}`),
    ['1 open', '1 open'],
  );
  rmSync(path, { recursive: true });
  await deploy();
  assert.equal(committed(), 3);
});

test('new workers read nothing before the orphans of an earlier runner have retired', async (t) => {
  const { fakes, deploy, supervisor } = await startSupervisor(t, { hasOrphans: true });
  await deploy({ workers: 1 });
  await settled();
  assert.deepEqual(fakes.take(), [
    'orphans gather',
    'step retire',
    'step commit',
    'step open',
    '1.0 open and wait',
    'step wait',
    'orphans retire',
    'step opened',
    'step live',
    '1.0 serve',
  ]);
  assert.equal(supervisor.status().active?.release, 1);
});

test('an old worker that does not confirm its retirement delays the switch by a second, and the log names it', async (t) => {
  const { fakes, deploy, logged } = await startSupervisor(t);
  await deploy();
  fakes.last(1).isStuck = true;
  const { pid } = fakes.last(1).handle;
  const { pauseMs } = await deploy({ maxDraining: 0 });
  assert.ok(pauseMs > 900 && pauseMs < 5000, `${pauseMs} ms`);
  assert.equal(logged[0], `worker 1 (pid ${pid}) did not retire in time: its event loop stands still`);
});

test('a switch to a generation that has lost a worker, or was discarded, fails and changes nothing', async (t) => {
  const { fakes, deploy, start, supervisor, journal } = await startSupervisor(t);
  await deploy();
  const second = await start();
  fakes.last(1, 2).exit({ code: 1, signal: null });
  await settled();
  journal.length = 0;
  await assert.rejects(supervisor.switch(second), { code: 'switch_failed' });
  const third = await start();
  await supervisor.discard(third);
  await assert.rejects(supervisor.switch(third), { code: 'switch_failed' });
  assert.deepEqual(
    journal.filter((line) => line.startsWith('1.') || line.startsWith('step')),
    [],
  );
  assert.equal(supervisor.status().workers.length, 2);
});

test('a switch is made although the link `current` cannot be replaced, and the log has the reason', async (t) => {
  const { directory, deploy, supervisor, logged } = await startSupervisor(t);
  mkdirSync(join(directory, 'current', 'obstacle'), { recursive: true });
  await deploy();
  assert.equal(supervisor.status().active?.release, 1);
  assert.match(logged.join('\n'), /current was not replaced: /);
});

test('a switch that cannot be prepared leaves no worker, and does not touch the old ones', async (t) => {
  const { directory, deploy, start, supervisor, fakes } = await startSupervisor(t);
  await deploy();
  const generation = join(directory, 'no such directory', 'generation');
  const paths = { current: join(directory, 'current'), generation, cron: '' };
  const second = await start({ paths });
  fakes.take();
  await assert.rejects(supervisor.switch(second), { code: 'switch_failed' });
  assert.deepEqual(fakes.take(), ['2.0 SIGKILL', '2.1 SIGKILL']);
});

test('a commit in a directory that is not safe fails with switch_failed', async () => {
  const spec = { paths: { current: '/app/current', generation: '/app/generation', cron: '' }, directory: '' };
  const refuse = () => {
    throw new Error('/app has been replaced');
  };
  const prepared = prepareCommit(spec, { generation: 1, release: 1, handoff: '' }, refuse);
  await assert.rejects(prepared, { code: 'switch_failed', message: /: \/app has been replaced$/ });
});

test('a first switch that cannot find the orphans leaves no worker, and the next one succeeds', async (t) => {
  const { orphans, start, deploy, supervisor } = await startSupervisor(t);
  const first = await start();
  const { gather } = orphans;
  orphans.gather = () => Promise.reject(new Error('the records cannot be read'));
  await assert.rejects(supervisor.switch(first), { message: 'the records cannot be read' });
  assert.deepEqual(supervisor.status().workers, []);
  orphans.gather = gather;
  await deploy();
  assert.equal(supervisor.status().active?.release, 2);
});

test('a new worker whose event loop stands still delays the switch by a second, and opens later', async (t) => {
  const { fakes, deploy, start, supervisor } = await startSupervisor(t);
  await deploy();
  const second = await start();
  const stuck = fakes.last(1);
  stuck.isStuck = true;
  const { pauseMs } = await supervisor.switch(second);
  assert.ok(pauseMs < 5000, `${pauseMs} ms`);
  assert.equal(stuck.handle.state, 'opening');
  stuck.isStuck = false;
  stuck.send({ type: 'opened' });
  await settled();
  assert.equal(stuck.handle.state, 'open');
});

test('clients wait for a first worker whose event loop does not run at the switch', async (t) => {
  const { fakes, start, supervisor, port } = await startSupervisor(t);
  const first = await start({ workers: 1 });
  fakes.last(0).isStuck = true;
  await supervisor.switch(first);
  const client = connect(port, '127.0.0.1');
  await once(client, 'connect');
  client.destroy();
  fakes.last(0).isStuck = false;
});

test('the oldest drain is cut short once more than maxDraining generations drain', async (t) => {
  const { fakes, deploy, supervisor } = await startSupervisor(t);
  fakes.behavior = () => ({ requests: ['GET /slow'] });
  for (let count = 0; count < 3; count += 1) await deploy({ workers: 1, maxDraining: 1 });
  await settled();
  assert.deepEqual(supervisor.status().draining, [2]);
  assert.match(fakes.logged[0] ?? '', /cuts GET \/slow: not answered .* \("maxDraining"\)$/);
});

test('workers with copies of a socket that was replaced do not stay on standby', async (t) => {
  const { supervisor, ports, deploy } = await startSupervisor(t);
  const settings = { keepWarm: 60_000 };
  await deploy(settings);
  await deploy(settings);
  assert.equal(supervisor.status().standby?.release, 1);
  for (const port of ports) port.renew();
  await deploy(settings);
  assert.equal(supervisor.status().standby, null);
  await deploy(settings);
  assert.equal(supervisor.status().standby?.release, 3);
});

test('if a worker on standby ends between its check and the switch, the next start boots workers', async (t) => {
  const { supervisor, fakes, directory, start, deploy } = await startSupervisor(t);
  const settings = { keepWarm: 60_000 };
  await deploy(settings);
  await deploy(settings);
  const again = { ...settings, release: 1, directory: join(directory, '1') };
  const warm = await start(again);
  assert.equal(fakes.all.length, 4);
  fakes.last(0, 1).exit({ code: 1, signal: null });
  await settled();
  await assert.rejects(supervisor.switch(warm), { code: 'switch_failed' });
  assert.equal(supervisor.status().standby, null);
  await supervisor.switch(await start(again));
  assert.equal(fakes.all.length, 6);
  assert.equal(supervisor.status().active?.release, 1);
});

test('a return to the release before uses the standby, also after it took its port, and ends starts of the worse one', async (t) => {
  const { supervisor, fakes, start, committed } = await startSupervisor(t);
  const settings = { keepWarm: 60_000, watchTime: 30_000 };
  const first = await start({ ...settings, takesPort: true });
  await supervisor.takePort(first, 1000, () => undefined, new AbortController().signal);
  await supervisor.switch(first);
  const second = await start(settings);
  await supervisor.switch(second, { watch: true });
  assert.equal(supervisor.status().returnsTo, 1);
  const early = await start({ ...settings, release: 2 });
  for (const fake of fakes.all.slice(2, 4)) fake.exit({ code: 1, signal: null });
  await settled();
  supervisor.tick(performance.now(), 0);
  assert.equal(supervisor.status().returnsTo, 1);
  await supervisor.watched(second);
  assert.equal(committed(), 1);
  assert.equal(supervisor.status().active?.generation, first);
  assert.equal(supervisor.status().returnsTo, null);
  // Restarts of the worse release: one that began before the return, and one that boots after it.
  for (const id of [early, await start({ ...settings, release: 2 })]) {
    const restarted = supervisor.switch(id, { restart: true });
    await assert.rejects(restarted, { code: 'switch_failed', message: 'its release was reverted meanwhile' });
  }
  assert.equal(committed(), 1);
  await supervisor.switch(await start({ ...settings, release: 1 }), { restart: true });
  assert.equal(committed(), 1);
  // A person may go live with it again.
  await supervisor.switch(await start({ ...settings, release: 2 }));
  assert.equal(committed(), 2);
});

test('a command counts as blocked only after the longest interval between heartbeats, too', async (t) => {
  for (const { inExec, most } of [
    { inExec: false, most: 3000 },
    { inExec: true, most: 5000 },
  ]) {
    const { supervisor, fakes, start, deploy } = await startSupervisor(t);
    fakes.behavior = () => ({ inExec });
    const settings = { workers: 1, keepWarm: 60_000, watchTime: 30_000 };
    await deploy(settings);
    const second = await start(settings);
    await supervisor.switch(second, { watch: true });
    await settled();
    const { handle } = fakes.last(0, 2);
    handle.silentFor = most;
    supervisor.tick(performance.now(), 0);
    await settled();
    assert.equal(supervisor.status().active?.release, 2);
    handle.silentFor = most + 1;
    supervisor.tick(performance.now(), 0);
    await supervisor.watched(second);
    assert.equal(supervisor.status().active?.release, 1, `in exec mode: ${inExec}`);
  }
});

test('a stop retires for good, ends what is on standby, and lets requests finish', async (t) => {
  const { fakes, deploy, start, supervisor, appLogged } = await startSupervisor(t);
  fakes.behavior = (_instance, release) => (release === 1 ? { requests: ['GET /slow'] } : {});
  await deploy({ workers: 1 });
  await start({ workers: 1 });
  fakes.take();
  const stopped = supervisor.stop();
  await settled();
  assert.deepEqual(fakes.take().toSorted(), ['1.0 retire for good', '2.0 SIGKILL']);
  assert.equal(supervisor.status().active, null);
  assert.deepEqual(supervisor.status().draining, [1]);
  assert.equal(supervisor.isEmpty, false);
  fakes.last(0, 1).finish();
  await stopped;
  assert.equal(supervisor.isEmpty, true);
  assert.deepEqual(appLogged, ['release 1 is live', 'stopped']);
});

test('a stop during the start of a generation ends the start', async (t) => {
  const { fakes, start, supervisor } = await startSupervisor(t);
  fakes.port = 1;
  const starting = assert.rejects(start({ workers: 1, bootTimeout: 60_000 }));
  await waitFor(() => fakes.all.length > 0, { what: 'the start' });
  await supervisor.stop();
  await starting;
  assert.deepEqual(supervisor.status().workers, []);
});

test('a stop right after the call of a start ends the start', async (t) => {
  const { start, supervisor } = await startSupervisor(t);
  const starting = assert.rejects(start({ workers: 1 }), { code: 'cancelled' });
  await supervisor.stop();
  await starting;
  assert.deepEqual(supervisor.status().workers, []);
});

test('a stop waits for the processes that a generation without a start has left running', async (t) => {
  const { fakes, start, supervisor } = await startSupervisor(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  fakes.behavior = () => ({ dies: true, leftoversGone: promise });
  const starting = assert.rejects(start({ workers: 1 }), { code: 'boot_exited' });
  await waitFor(() => fakes.all.length > 0, { what: 'the start' });
  await settled();
  let isStopped = false;
  const stopped = supervisor.stop().then(() => {
    isStopped = true;
  });
  await settled();
  assert.equal(isStopped, false);
  resolve();
  await Promise.all([starting, stopped]);
});

test('workers share a handoff until one aborts and no worker has it any more', async (t) => {
  const { fakes, deploy } = await startSupervisor(t);
  await deploy();
  await deploy();
  assert.equal(new Set(fakes.all.map(({ handle }) => handle.handoff)).size, 1);
  await settled();
  await (fakes.clock as FakeClock).advance(300);
  fakes.last(0).exit({ code: null, signal: 'SIGABRT' });
  await settled();
  const [shared] = fakes.all;
  assert.equal(fakes.last(0).handle.handoff, shared?.handle.handoff);
  fakes.last(0).exit({ code: null, signal: 'SIGABRT' });
  fakes.last(1).exit({ code: null, signal: 'SIGABRT' });
  await waitFor(() => fakes.last(1).handle.handoff !== shared?.handle.handoff, { what: 'another handoff' });
});
