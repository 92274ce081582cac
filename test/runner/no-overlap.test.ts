import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isAlive } from '../../src/system/process/processes.ts';
import { ask, connectClients } from '../support/clients.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { Load, orderViolations } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

/** Starts a runner with an app that has a UDP port, in one worker. */
async function startApp(t: TestContext) {
  const runner = await TestRunner.start(t);
  const udp = await freePort();
  const spec = (settings: object, env: Record<string, string> = {}) =>
    runner.spec('udp.cjs', { workers: 1, ...settings }, { UDP_PORT: String(udp), ...env });
  return { runner, spec };
}

const noOverlap = { overlap: false };

test('without overlap, an app with a UDP port is switched again and again: requests wait, and none is lost', async (t) => {
  const { runner, spec } = await startApp(t);
  await runner.release(spec(noOverlap));
  const idle = await connectClients(t, runner);
  const load = new Load(runner.port, 12);
  t.after(() => load.stop());
  for (let round = 0; round < 2; round += 1) {
    const before = load.answered;
    await waitFor(() => load.answered > before + 50, { what: 'answers' });
    const { pauseMs } = await runner.release(spec(noOverlap));
    // The boot is part of the pause: at least `settleTime`.
    assert.ok(pauseMs > 100, `${pauseMs}`);
  }
  const report = await load.stop();
  assert.deepEqual(report.errors, []);
  assert.deepEqual(orderViolations(report), []);
  for (const client of idle) assert.equal(await ask(client), '3');
  t.diagnostic(`${report.samples.length} requests`);
});

test('without overlap, the release before serves again if the next one does not start, and requests only wait', async (t) => {
  const { runner, spec } = await startApp(t);
  await runner.release(spec(noOverlap));
  const load = new Load(runner.port, 6);
  t.after(() => load.stop());
  await waitFor(() => load.answered > 50);
  const lines: string[] = [];
  await assert.rejects(
    runner.boot(spec(noOverlap, { FAILS: '1' }), (line) => lines.push(line)),
    { code: 'boot_exited' },
  );
  assert.match(lines[0] ?? '', /the workers of release 1 end first, and clients wait \("overlap": false\)/);
  const before = load.answered;
  await waitFor(() => load.answered > before + 50, { what: 'answers of the release before' });
  const report = await load.stop();
  assert.deepEqual(report.errors, []);
  assert.deepEqual(new Set(report.samples.map(({ mark }) => mark)), new Set([1]));
});

test('a release that needs a port of the live one goes live without overlap, and so does a rollback (thorough)', async (t) => {
  const { runner, spec } = await startApp(t);
  await runner.release(spec({}));
  await assert.rejects(runner.boot(spec({})), { code: 'boot_exited' });
  assert.equal((await fetchText(runner.port)).body, '1');
  await runner.release(spec(noOverlap));
  assert.equal((await fetchText(runner.port)).body, '3');
  // The release before has not the setting.
  await runner.release(spec({}));
  assert.equal((await fetchText(runner.port)).body, '4');
});

test('without overlap, the workers of an earlier runner end before new ones start, and clients wait (thorough)', async (t) => {
  const { runner, spec } = await startApp(t);
  await runner.release(spec(noOverlap));
  const { headers } = await fetchText(runner.port);
  await runner.kill();
  await runner.launch();
  const released = runner.release(spec({ ...noOverlap, settleTime: '1s' }));
  await waitFor(() => !isAlive(Number(headers['x-pid'])), { what: 'the end of the worker' });
  assert.equal((await fetchText(runner.port)).body, '2');
  await released;
});

test('without overlap, idle connections that find no space in the handoff close, and do not delay the switch (thorough)', async (t) => {
  const { runner, spec } = await startApp(t);
  const settings = { ...noOverlap, drainTimeout: '20s' };
  await runner.release(spec(settings, { KEEP_ALIVE_TIMEOUT: '60000' }));
  const clients = await connectClients(t, runner, 400);
  const { pauseMs } = await runner.release(spec(settings));
  assert.ok(pauseMs < 10_000, `${pauseMs} ms`);
  await waitFor(() => clients.some(({ closed }) => closed), { what: 'the end of some connections' });
  const open = clients.filter(({ closed }) => !closed);
  assert.ok(open.length > 200, `${open.length}`);
  assert.deepEqual(new Set(await Promise.all(open.map((client) => ask(client)))), new Set(['2']));
});
