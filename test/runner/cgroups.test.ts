import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { EnvironmentStatus, WorkerStatus } from '../../src/protocol/runner.ts';
import { ownCgroup } from '../../src/runner/cgroups/find.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { appLog } from '../support/app-log.ts';
import { managesCgroups, noLimits } from '../support/cgroups.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const skip = noLimits();

function start(t: TestContext): Promise<TestRunner> {
  return TestRunner.start(t, managesCgroups);
}

/** Returns the directory of our group in the hierarchy of a controller. */
function root(runner: TestRunner, controller: string): string {
  const place = ownCgroup(controller);
  const name = createHash('sha256').update(runner.paths.home).digest('hex').slice(0, 8);
  return join(place?.mount ?? '', place?.path ?? '', `sluice-${name}`);
}

function groupOf(pid: number, controller: string): string {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
  return lines.find((line) => line.split(':')[1]?.split(',').includes(controller))?.split(':')[2] ?? '';
}

async function status(runner: TestRunner, key = 'shop'): Promise<EnvironmentStatus> {
  const target = (await runner.client.call('status', {})).find((one) => one.key === key);
  assert.ok(target);
  return target;
}

async function open(runner: TestRunner, key?: string): Promise<WorkerStatus[]> {
  return (await status(runner, key)).workers.filter(({ state }) => state === 'open');
}

test('workers and background processes are in the cgroup of their generation, with its limits', {
  skip,
}, async (t) => {
  const runner = await start(t);
  const spec = runner.spec('plain.cjs', {
    workers: 2,
    memoryLimit: '300M',
    maxProcesses: 400,
    cpuWeight: 50,
  });
  spec.background = [
    {
      name: 'tasks',
      count: 1,
      nodeArgs: [],
      script: join(apps, 'background.cjs'),
      args: [],
      env: { SPANS: join(runner.paths.home, 'spans') },
      overlap: false,
    },
  ];
  const { generation } = await runner.release(spec);
  const all = await waitFor(async () => {
    const { workers, background } = await status(runner);
    const pids = [...workers, ...background].map(({ pid }) => pid ?? 0);
    return pids.length === 3 && !pids.includes(0) && pids;
  });
  const group = `apps/app-shop/generation-${generation}`;
  for (const controller of ['memory', 'cpu', 'pids']) {
    for (const pid of all) assert.ok(groupOf(pid, controller).endsWith(`/${group}`), controller);
    assert.ok(!groupOf(runner.process.pid ?? 0, controller).includes('apps/'));
  }
  const value = (controller: string, path: string) =>
    readFileSync(join(root(runner, controller), path), 'utf8').trim();
  assert.equal(value('memory', `${group}/memory.limit_in_bytes`), String(300 * 1024 ** 2));
  const withSwap = `${group}/memory.memsw.limit_in_bytes`;
  if (existsSync(join(root(runner, 'memory'), withSwap)))
    assert.equal(value('memory', withSwap), String(600 * 1024 ** 2));
  assert.equal(value('pids', `${group}/pids.max`), '400');
  assert.equal(value('cpu', 'apps/app-shop/cpu.shares'), '512');
});

test('a cgroup is removed when its generation has ended, and all cgroups when the runner has (thorough)', {
  skip,
}, async (t) => {
  const runner = await start(t);
  const first = await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  const own = root(runner, 'memory');
  await waitFor(() => !existsSync(join(own, `apps/app-shop/generation-${first.generation}`)));
  assert.ok(existsSync(join(own, 'apps/app-shop')));
  await runner.stop();
  for (const controller of ['memory', 'cpu', 'pids']) assert.ok(!existsSync(root(runner, controller)));
});

test('an app that exceeds its memory limit is killed, its log has the reason, and other apps are not affected', {
  skip,
}, async (t) => {
  const runner = await start(t);
  await runner.release(runner.spec('greedy.cjs', { workers: 1, memoryLimit: '200M', restartDelay: 10 }));
  const port = await freePort();
  const other = { ...runner.spec('greedy.cjs', { workers: 1 }), key: 'other', port };
  other.env['PORT'] = String(port);
  await runner.release(other);
  const [neighbour] = await open(runner, 'other');
  await fetchText(runner.port, '/eat');
  const crash = await waitFor(async () => (await status(runner)).crash);
  assert.match(crash.message, /^worker 0 was killed by the memory limit of 200 MiB \("memoryLimit"\) after /);
  await waitFor(async () => (await open(runner)).length === 1);
  assert.deepEqual(
    (await open(runner, 'other')).map(({ pid, restarts }) => ({ pid, restarts })),
    [{ pid: neighbour?.pid, restarts: 0 }],
  );
});

test('a release that needs more memory than its limit does not go live, and the live release is not affected (thorough)', {
  skip,
}, async (t) => {
  const runner = await start(t);
  const settings = { workers: 1, memoryLimit: '200M', settleTime: '10s' };
  await runner.release(runner.spec('greedy.cjs', { ...settings, settleTime: 10 }));
  const [live] = await open(runner);
  await assert.rejects(runner.boot(runner.spec('greedy.cjs', settings, { EAT: 'soon' })), {
    code: 'settle_exited',
    message: /was killed by the memory limit of 200 MiB/,
  });
  assert.deepEqual(
    (await status(runner)).workers.map(({ pid }) => pid),
    [live?.pid],
  );
});

test('an app gets at most maxProcesses processes, and none outlives its generation (thorough)', {
  skip,
}, async (t) => {
  const runner = await start(t);
  const spec = runner.spec('greedy.cjs', { workers: 1, maxProcesses: 100 });
  const { generation } = await runner.release(spec);
  const procs = join(root(runner, 'pids'), `apps/app-shop/generation-${generation}`);
  await fetchText(runner.port, '/swarm');
  await waitFor(() => Number(readFileSync(join(procs, 'pids.events'), 'utf8').split(' ')[1]) > 0);
  const swarm = readFileSync(join(procs, 'cgroup.procs'), 'utf8').trim().split('\n').map(Number);
  assert.ok(swarm.length > 20 && swarm.length <= 100, String(swarm.length));
  await waitFor(async () =>
    (await appLog(spec.log.directory)).some(({ text }) =>
      text.endsWith('belongs to a release at the limit of 100 processes and threads ("maxProcesses")'),
    ),
  );
  // The next one is not held up by them.
  await runner.release(runner.spec('greedy.cjs', { workers: 1, maxProcesses: 100 }));
  await waitFor(() => !existsSync(procs));
  await waitFor(() => swarm.every((pid) => !isAlive(pid)));
});

test('workers of a killed runner stay in their cgroup, which is removed after them (thorough)', {
  skip,
}, async (t) => {
  const runner = await start(t);
  const first = await runner.release(runner.spec('greedy.cjs', { workers: 1 }));
  const old = join(root(runner, 'memory'), `apps/app-shop/generation-${first.generation}`);
  await fetchText(runner.port, '/swarm');
  await waitFor(() => readFileSync(join(old, 'cgroup.procs'), 'utf8').split('\n').length > 250);
  await runner.kill();
  await runner.launch(managesCgroups);
  assert.equal((await fetchText(runner.port)).status, 200);
  assert.ok(existsSync(old));
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  // They are given drainTimeout and killTimeout, after the time that they may take to report.
  await waitFor(() => !existsSync(old), { timeout: 60_000 });
});

function isAlive(pid: number): boolean {
  return processStartTime(pid) !== undefined;
}
