import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { fetchText } from '../support/http.ts';
import { Load } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const killer = fileURLToPath(new URL('../fixtures/kill-at-step.mjs', import.meta.url));

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

for (const [step, live] of [
  ['retire', '1'],
  ['commit', '1'],
  ['open', '2'],
  ['opened', '2'],
] as const) {
  test(`after a kill of the runner at "${step}" of a switch, release ${live} answers, and all its workers are open`, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('plain.cjs'));
    await runner.kill();
    // Restarted so that the switch to the second release dies, and not the first one.
    await runner.launch({ NODE_OPTIONS: `--import=${killer}`, KILL_AT: step, KILL_AT_COUNT: '2' });
    await runner.release(runner.spec('plain.cjs', {}, { MARK: '1' }));
    await assert.rejects(runner.release(runner.spec('plain.cjs', {}, { MARK: '2' })), {
      code: 'runner_unavailable',
    });
    for (let asked = 0; asked < 20; asked += 1) assert.equal((await fetchText(runner.port)).body, live);

    const old = (await new ProcessRecords(runner.paths.processes).alive()).filter(
      ({ kind }) => kind === 'worker',
    );
    assert.ok(old.length >= 2);
    await runner.launch();
    await runner.release(runner.spec('plain.cjs', {}, { MARK: '3' }));
    await untilClosed(old.map(({ pid }) => pid));
    for (let asked = 0; asked < 20; asked += 1) assert.equal((await fetchText(runner.port)).body, '3');
  });
}

test('a worker whose event loop stands still does not outlive its successors', async (t) => {
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

/** Waits until the old socket is closed. Some kernels reset the connections that wait on it. */
async function untilClosed(pids: number[]): Promise<void> {
  for (const pid of pids) await waitFor(() => hasClosed(pid), { what: `the end of orphan ${pid}` });
}

/** Returns true once all threads of a process have ended: only the last one closes its descriptors. */
async function hasClosed(pid: number): Promise<boolean> {
  if (await isAlive(pid)) return false;
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  return threads.length <= 1;
}

async function isAlive(pid: number): Promise<boolean> {
  return (await processStartTime(pid)) !== undefined;
}

test('the report of an orphan whose record cannot be read does not end the runner', async (t) => {
  const runner = await TestRunner.start(t);
  // A record that no user can read, not even root.
  mkdirSync(join(runner.paths.processes, '1.json'));
  const socket = connect(runner.paths.orphanSocket);
  t.after(() => socket.destroy());
  socket.write(`${JSON.stringify({ type: 'orphan', pid: 1, key: 'shop', secret: '' })}\n`);
  await once(socket.resume(), 'close');
  assert.deepEqual(await runner.client.call('status', {}), []);
});
