import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { isAlive } from '../../src/system/process/processes.ts';
import { ask } from '../support/clients.ts';
import { fetchText } from '../support/http.ts';
import { Load, orderViolations } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const addresses = Array.from({ length: 12 }, (_, index) => `127.0.0.${index + 2}`);
const settings = { workers: 3, affinity: 'client' };

/** Returns the worker that answers a client, with each request on a connection of its own. */
async function workerOf(port: number, localAddress: string): Promise<number> {
  const { headers } = await fetchText(port, '/', { localAddress });
  return Number(headers['x-pid']);
}

async function workersOf(port: number): Promise<number[]> {
  return Promise.all(addresses.map((address) => workerOf(port, address)));
}

test('with affinity, all connections of a client reach the same worker, and the clients are spread over all workers (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', settings));
  const first = await workersOf(runner.port);
  for (let round = 0; round < 5; round += 1) assert.deepEqual(await workersOf(runner.port), first);
  assert.equal(new Set(first).size, 3);
});

test('with affinity, the death of a worker moves no client of the other workers, and its own clients wait for the next one (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', settings));
  const before = await workersOf(runner.port);
  const [victim = 0] = before;
  process.kill(victim, 'SIGKILL');
  const after = await workersOf(runner.port);
  const next = after[0];
  assert.notEqual(next, victim);
  assert.deepEqual(
    after,
    before.map((pid) => (pid === victim ? next : pid)),
  );
});

/** Opens a kept connection of each client, and waits for an answer on it. */
async function keepConnections(t: TestContext, port: number): Promise<Socket[]> {
  const kept = addresses.map((localAddress) =>
    connect({ port, host: '127.0.0.1', localAddress }).setEncoding('latin1'),
  );
  t.after(() => {
    for (const client of kept) client.destroy();
  });
  await Promise.all(kept.map((client) => once(client, 'connect')));
  for (const client of kept) await ask(client);
  return kept;
}

/** Returns the workers that answer on kept connections. */
async function answeringOn(kept: Socket[]): Promise<number[]> {
  const pids: number[] = [];
  for (const client of kept) pids.push(Number(await ask(client, 'x-pid')));
  return pids;
}

test('with affinity, clients keep their workers if the runner dies, and all move to the workers of the next one (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = () => runner.spec('plain.cjs', settings, { KEEP_ALIVE_TIMEOUT: '60000' });
  await runner.release(spec());
  const kept = await keepConnections(t, runner.port);
  const before = await workersOf(runner.port);
  await runner.kill();
  assert.deepEqual(await workersOf(runner.port), before);
  assert.deepEqual(await answeringOn(kept), before);
  await runner.launch();
  await runner.release(spec());
  const after = await workersOf(runner.port);
  assert.equal(new Set([...before, ...after]).size, 6);
  assert.deepEqual(await answeringOn(kept), after);
  await waitFor(() => !before.some((pid) => isAlive(pid)), { what: 'the end of the old workers' });
});

test('with affinity, switches lose no request and keep the order, and kept connections move to the worker of their client', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', settings));
  const kept = await keepConnections(t, runner.port);
  const load = new Load(runner.port, 12, (index) => addresses[index] ?? '');
  t.after(() => load.stop());
  // Also to another number of workers.
  for (const workers of [2, 3]) {
    const before = load.answered;
    await waitFor(() => load.answered > before + 100, { what: 'answers' });
    await runner.release(runner.spec('plain.cjs', { ...settings, workers }));
    const now = await workersOf(runner.port);
    assert.deepEqual(await answeringOn(kept), now);
  }
  const report = await load.stop();
  assert.deepEqual(report.errors, []);
  assert.deepEqual(orderViolations(report), []);
  t.diagnostic(`${report.samples.length} requests`);
});

for (const overlap of [true, false]) {
  test(`with affinity, clients that wait for a dead worker are served by the next release (${overlap ? 'overlap' : 'no overlap'}, thorough)`, async (t) => {
    const runner = await TestRunner.start(t);
    const spec = () => runner.spec('plain.cjs', { ...settings, overlap, restartDelay: '60s' });
    await runner.release(spec());
    const [waiting = '', ...others] = addresses;
    const slot = await workerOf(runner.port, waiting);
    const elsewhere: string[] = [];
    for (const address of others)
      if ((await workerOf(runner.port, address)) !== slot) elsewhere.push(address);
    // The first one is started again at once.
    for (let deaths = 0; deaths < 2; deaths += 1)
      process.kill(await workerOf(runner.port, waiting), 'SIGKILL');
    const answers = [1, 2, 3].map(() => fetchText(runner.port, '/', { localAddress: waiting }));
    // These connections are accepted later.
    for (const address of elsewhere) await workerOf(runner.port, address);
    await runner.release(spec());
    for (const answer of answers) assert.equal((await answer).body, '2');
  });
}
