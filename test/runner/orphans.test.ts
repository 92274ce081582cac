import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { Load } from '../support/load.ts';
import { untilClosed } from '../support/processes.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

test('a kill of the runner under load loses no request, and the next runner takes over with a new generation', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const old = (await runner.client.call('status', {}))[0]?.workers.map(({ pid }) => pid) ?? [];
  const load = new Load(runner.port, 8);
  t.after(() => load.stop());
  await waitFor(() => load.answered > 200);
  await runner.kill();
  const before = load.answered;
  await waitFor(() => load.answered > before + 500, { what: 'answers without a runner' });
  const { errors } = await load.stop();
  assert.deepEqual(errors, []);

  await runner.launch();
  await runner.release(runner.spec('plain.cjs'));
  await untilClosed(old);
  assert.equal((await fetchText(runner.port)).body, '2');
});

test('a worker whose event loop stands still does not outlive its successors (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const settings = { workers: 2, stuckTimeout: 0, drainTimeout: 500, killTimeout: 500 };
  await runner.release(runner.spec('faulty.cjs', settings));
  const { headers } = await fetchText(runner.port, '/stuck');
  const stuck = Number(headers['x-pid']);
  const old = (await runner.client.call('status', {}))[0]?.workers.map(({ pid }) => pid) ?? [];
  assert.ok(old.includes(stuck));
  await runner.kill();
  await runner.launch();
  await runner.release(runner.spec('plain.cjs', settings));
  await untilClosed(old);
  for (let asked = 0; asked < 20; asked += 1) assert.equal((await fetchText(runner.port)).body, '2');
});

test('the report of an orphan whose record cannot be read does not end the runner (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  // A record that no user can read, not even root.
  mkdirSync(join(runner.paths.processes, '1.json'));
  const socket = connect(runner.paths.orphanSocket);
  t.after(() => socket.destroy());
  socket.write(`${JSON.stringify({ type: 'orphan', pid: 1, key: 'shop', secret: '' })}\n`);
  await once(socket.resume(), 'close');
  assert.deepEqual(await runner.client.call('status', {}), []);
});
