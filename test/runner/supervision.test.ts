import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { Agent } from 'node:http';
import { connect } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { LogRecord } from '../../src/logs/line.ts';
import type { EnvironmentStatus, WorkerStatus } from '../../src/protocol/runner.ts';
import { appLog } from '../support/app-log.ts';
import { fetchText, keepAliveAgent } from '../support/http.ts';
import { Load } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

async function status(runner: TestRunner): Promise<EnvironmentStatus> {
  const [target] = await runner.client.call('status', {});
  assert.ok(target);
  return target;
}

/** Returns true for a line of Sluice about a worker, and not about the app as a whole. */
function aboutWorkers({ stream, process }: LogRecord): boolean {
  return stream === 'sys' && process !== '-';
}

async function open(runner: TestRunner): Promise<WorkerStatus[]> {
  return (await status(runner)).workers.filter(({ state }) => state === 'open');
}

test('a killed worker is restarted at once, and only its requests in flight are lost', async (t) => {
  const runner = await TestRunner.start(t);
  const { bootMs } = await runner.release(runner.spec('plain.cjs', { workers: 2 }));
  const load = new Load(runner.port, 12);
  t.after(() => load.stop());
  await waitFor(() => load.answered > 200);
  for (let kills = 0; kills < 3; kills += 1) {
    const [victim] = await open(runner);
    process.kill(victim?.pid ?? 0, 'SIGKILL');
    const start = performance.now();
    await waitFor(async () => (await open(runner)).filter(({ pid }) => pid !== victim?.pid).length === 2);
    t.diagnostic(
      `replaced after ${Math.round(performance.now() - start)} ms; a boot of both took ${Math.round(bootMs)} ms`,
    );
  }
  const { errors } = await load.stop();
  // Each of 12 clients has one request in flight, so one death loses no more than 12.
  assert.ok(errors.length <= 3 * 12, `${errors.length} lost`);
  assert.deepEqual(
    (await open(runner)).map(({ restarts }) => restarts).reduce((sum, each) => sum + each),
    3,
  );
});

test('an app that dies right after its start is `crashed`, with the reason, refuses clients at once, and recovers (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const doom = join(runner.paths.home, 'doom');
  const settings = { workers: 1, maxRestarts: 4, restartDelay: 10, minUptime: '3s' };
  const spec = runner.spec('faulty.cjs', settings, { DOOM: doom });
  await runner.release(spec);
  assert.equal((await status(runner)).state, 'running');
  await writeFile(doom, 'after');
  const crashed = await waitFor(async () => {
    const all = await status(runner);
    return all.state === 'crashed' && all;
  });
  const { crash } = crashed;
  assert.match(crash?.message ?? '', /^worker 0 ended with exit status 1 after (\d+ ms|\d\.\d s)$/);
  assert.match(crash?.output.join('\n') ?? '', /Error: doomed after/);
  assert.ok(Date.parse(crashed.since) > Date.now() - 10_000);

  await assert.rejects(once(connect(runner.port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' });
  await rm(doom);
  await waitFor(async () => (await status(runner)).state === 'running');
  assert.equal((await fetchText(runner.port)).status, 200);
  const said = (await appLog(spec.log.directory)).filter(aboutWorkers);
  assert.ok(said.some(({ text }) => /; crashed: it is started again in 15 s$/.test(text)));
});

test('a worker that ends with a status of stopExitCodes is not restarted (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('faulty.cjs', { workers: 2, stopExitCodes: [7] });
  await runner.release(spec);
  await fetchText(runner.port, '/end');
  await waitFor(async () => (await open(runner)).length === 1);
  await waitFor(async () => {
    const said = (await appLog(spec.log.directory)).filter(aboutWorkers);
    return said.some(({ text }) => text.endsWith('it is not started again ("stopExitCodes")'));
  });
  assert.equal((await status(runner)).workers.length, 1);
});

test('an app that leaks 5 MB a request keeps its limit of 150 MB on a busy machine, and loses no request (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const peaks = await temporaryDirectory(t);
  const spec = runner.spec('faulty.cjs', { workers: 2, maxMemory: '150M' }, { LEAK: '5', LEAK_LOG: peaks });
  await runner.release(spec);
  keepBusy(t);
  const load = new Load(runner.port, 8);
  t.after(() => load.stop());
  const end = performance.now() + 30_000;
  await waitFor(() => performance.now() > end, { timeout: 60_000 });
  const { errors, samples } = await load.stop();
  const pids = await readdir(peaks);
  const memory = await Promise.all(pids.map(async (pid) => Number(await readFile(join(peaks, pid), 'utf8'))));
  const [fattest, limit] = [Math.max(...memory), spec.maxMemory ?? 0];
  t.diagnostic(
    `${samples.length} requests, ${pids.length - 2} workers replaced, the largest took ${(fattest / limit).toFixed(2)} x the limit`,
  );
  assert.deepEqual(errors, []);
  assert.ok(pids.length > 4);
  assert.ok(fattest <= 1.5 * limit, `${fattest} bytes`);
});

test('a worker keeps its memory limit by itself while the runner stands still, and loses no request', async (t) => {
  const runner = await TestRunner.start(t);
  const peaks = await temporaryDirectory(t);
  const spec = runner.spec('faulty.cjs', { workers: 1, maxMemory: '150M' }, { LEAK: '5', LEAK_LOG: peaks });
  await runner.release(spec);
  const [worker] = await open(runner);
  const peak = async () => Number(await readFile(join(peaks, String(worker?.pid)), 'utf8').catch(() => '0'));
  const limit = spec.maxMemory ?? 0;
  runner.process.kill('SIGSTOP');
  t.after(() => runner.process.kill('SIGCONT'));
  const load = new Load(runner.port, 8);
  t.after(() => load.stop());
  // So many requests would exceed the limit, so their clients wait.
  await waitFor(async () => (await peak()) > 1.2 * limit, { what: 'the limit' });
  const before = performance.now();
  await waitFor(() => performance.now() > before + 1000);
  const most = await peak();
  assert.ok(most <= 1.5 * limit, `${(most / limit).toFixed(2)} x the limit`);
  runner.process.kill('SIGCONT');
  const answered = load.answered;
  await waitFor(() => load.answered > answered + 8, { what: 'answers of a fresh worker' });
  const { errors } = await load.stop();
  assert.deepEqual(errors, []);
});

test('a worker that retires by itself because its limit is too low is replaced at once (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('faulty.cjs', { workers: 1, maxMemory: '35M' }, { LEAK: '5' });
  await runner.release(spec);
  const said = async () => (await appLog(spec.log.directory)).filter(aboutWorkers).map(({ text }) => text);
  await waitFor(async () =>
    (await said()).some((text) => text.endsWith('the limit is below the needs of the app')),
  );
  const pids = await askOften(runner, 20);
  assert.ok(pids.size > 2, `${pids.size} workers`);
});

test('a slow worker serves although its memory exceeds the limit when it opens', async (t) => {
  const runner = await TestRunner.start(t);
  const environment = { LEAK: '5', HOLD: '30' };
  const spec = runner.spec('faulty.cjs', { workers: 1, maxMemory: '35M' }, environment);
  await runner.release(spec);
  const pids = await askOften(runner, 5);
  assert.ok(pids.size > 1, `${pids.size} workers`);
});

test('a worker that retires by itself keeps serving as long as no other worker can be started (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const unfit = join(await temporaryDirectory(t), 'unfit');
  const environment = { LEAK: '10', UNFIT: unfit };
  const spec = runner.spec('faulty.cjs', { workers: 1, maxMemory: '100M' }, environment);
  await runner.release(spec);
  await writeFile(unfit, 'ends');
  const agent = keepAliveAgent();
  t.after(() => agent.destroy());
  const pids = await askOften(runner, 15, agent);
  assert.equal(pids.size, 1);
  await rm(unfit);
  await waitFor(async () => {
    const [pid] = await askOften(runner, 1);
    return pid !== undefined && !pids.has(pid);
  });
});

/** Sends requests one after the other. @returns the workers that have answered */
async function askOften(
  runner: TestRunner,
  count: number,
  agent: Agent | false = false,
): Promise<Set<string>> {
  const pids = new Set<string>();
  for (let asked = 0; asked < count; asked += 1) {
    const { headers } = await fetchText(runner.port, '/', { agent, signal: AbortSignal.timeout(10_000) });
    pids.add(String(headers['x-pid']));
  }
  return pids;
}

/** Keeps all CPU cores busy until the end of the test. */
function keepBusy(t: TestContext): void {
  for (let count = 0; count < Math.max(2, availableParallelism()); count += 1) {
    const loop = spawn(process.execPath, ['--eval', 'for (;;);'], { stdio: 'ignore' });
    t.after(() => loop.kill('SIGKILL'));
  }
}

test('a worker whose event loop stands still is replaced, and the other worker answers meanwhile', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('faulty.cjs', { workers: 2, stuckTimeout: '3s' });
  await runner.release(spec);
  const { headers } = await fetchText(runner.port, '/stuck');
  const stuck = Number(headers['x-pid']);
  let asked = 0;
  await waitFor(async () => {
    const { headers: from } = await fetchText(runner.port);
    assert.notEqual(Number(from['x-pid']), stuck);
    asked += 1;
    const { workers } = await status(runner);
    return workers.length === 2 && workers.every(({ pid, state }) => pid !== stuck && state === 'open');
  });
  assert.ok(asked > 10);
  const said = (await appLog(spec.log.directory)).filter(aboutWorkers);
  assert.match(
    said[0]?.text ?? '',
    /has not turned its event loop for .* \("stuckTimeout"\), and is replaced$/,
  );
});

test('a client waits for a first worker whose event loop does not run at the switch', async (t) => {
  const runner = await TestRunner.start(t);
  const unfit = join(runner.paths.home, 'unfit');
  await writeFile(unfit, 'hangs');
  await runner.release(runner.spec('faulty.cjs', { workers: 1, stuckTimeout: 0 }, { UNFIT: unfit }));
  const client = connect(runner.port, '127.0.0.1');
  t.after(() => client.destroy());
  await once(client, 'connect');
  await rm(unfit);
  assert.equal((await fetchText(runner.port)).status, 200);
});

test('a runner that is always late still finds the stuck worker, and no other (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('faulty.cjs', { workers: 2, stuckTimeout: '3s' });
  await runner.release(spec);
  const { headers } = await fetchText(runner.port, '/stuck');
  const stuck = Number(headers['x-pid']);
  const limp = setInterval(() => {
    runner.process.kill('SIGSTOP');
    setTimeout(() => runner.process.kill('SIGCONT'), 700);
  }, 900);
  t.after(() => {
    clearInterval(limp);
    runner.process.kill('SIGCONT');
  });
  const replaced = async () => {
    const said = (await appLog(spec.log.directory)).filter(aboutWorkers);
    return said.filter(({ text }) => text.endsWith('and is replaced')).map(({ text }) => text);
  };
  await waitFor(async () => (await replaced()).length > 0, { timeout: 60_000 });
  await waitFor(async () => (await open(runner)).filter(({ pid }) => pid !== stuck).length === 2);
  const [first = '', ...others] = await replaced();
  assert.match(first, new RegExp(`\\(pid ${stuck}\\) has not turned its event loop`));
  assert.deepEqual(others, []);
});

test('status shows the load and the memory of each worker (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { workers: 1, stuckTimeout: '2s' }));
  const load = new Load(runner.port, 6);
  t.after(() => load.stop());
  const worker = await waitFor(async () => {
    const [one] = await open(runner);
    return (one?.cpuPercent ?? 0) > 0 && (one?.connections ?? 0) > 0 && one;
  });
  await load.stop();
  assert.ok(worker.memoryBytes !== null && worker.memoryBytes > 20e6 && worker.memoryBytes < 500e6);
  assert.ok(worker.cpuPercent !== null && worker.cpuPercent < 300);
  assert.ok(worker.connections !== null && worker.connections <= 8);
  assert.ok(worker.requests !== null && worker.requests <= worker.connections);
  assert.ok(worker.eventLoopDelayMs !== null && worker.eventLoopDelayMs >= 0);
});
