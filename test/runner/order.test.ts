import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { reportsWithin } from '../../src/runner/takeover/orphans.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { ask, connectClients, nextText } from '../support/clients.ts';
import { fetchText } from '../support/http.ts';
import { Load, type LoadReport, orderViolations } from '../support/load.ts';
import { movesConnections } from '../support/network.ts';
import { untilClosed } from '../support/processes.ts';
import { TestRunner } from '../support/runner.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

const killer = fileURLToPath(new URL('../fixtures/kill-at-step.mjs', import.meta.url));

/** Environment of an app that closes no idle connection during these tests. */
const patient = { KEEP_ALIVE_TIMEOUT: '60000' };

for (const [step, active] of [
  ['retire', '1'],
  ['commit', '1'],
  ['open', '2'],
  ['opened', '2'],
] as const) {
  test(`after a kill of the runner at "${step}" of a switch, release ${active} answers, idle connections stay open, and the next runner takes over${thorough(step !== 'open')}`, async (t) => {
    const runner = await TestRunner.start(t, {
      NODE_OPTIONS: `--import=${killer}`,
      KILL_AT: step,
      KILL_AT_COUNT: '2',
    });
    await runner.release(runner.spec('plain.cjs', {}, patient));
    const clients = await connectClients(t, runner);
    await assert.rejects(runner.release(runner.spec('plain.cjs', {}, patient)), {
      code: 'runner_unavailable',
    });
    await untilAnsweredBy(active, runner);
    for (const client of clients) assert.equal(await ask(client), active);
    for (let asked = 0; asked < 20; asked += 1) assert.equal((await fetchText(runner.port)).body, active);

    const left = (await new ProcessRecords(runner.paths.processes).alive()).filter(
      ({ kind }) => kind === 'worker',
    );
    assert.ok(left.length >= 2);
    await runner.launch();
    await runner.release(runner.spec('plain.cjs', {}, patient));
    await untilAnsweredBy('3', runner);
    for (const client of clients) assert.equal(await ask(client), '3');
    await untilClosed(left.map(({ pid }) => pid));
    for (let asked = 0; asked < 20; asked += 1) assert.equal((await fetchText(runner.port)).body, '3');
  });
}

test('after a kill of the runner at "open" of a rollback, the release that was on standby answers, and idle connections stay open', async (t) => {
  const runner = await TestRunner.start(t, {
    NODE_OPTIONS: `--import=${killer}`,
    KILL_AT: 'open',
    KILL_AT_COUNT: '3',
  });
  const lasting = () => runner.spec('plain.cjs', { keepWarm: '60s' }, patient);
  const first = lasting();
  await runner.release(first);
  const clients = await connectClients(t, runner);
  await runner.release(lasting());
  for (const client of clients) assert.equal(await ask(client), '2');
  await assert.rejects(runner.release(first), { code: 'runner_unavailable' });
  await untilAnsweredBy('1', runner);
  for (const client of clients) assert.equal(await ask(client), '1');
  await runner.launch();
  await runner.release(lasting());
  for (const client of clients) assert.equal(await ask(client), '3');
});

test('idle connections of orphans move to the release of the next runner, and stay open', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', {}, patient));
  const clients = await connectClients(t, runner);
  await runner.kill();
  await runner.launch();
  await runner.release(runner.spec('plain.cjs', {}, patient));
  await untilAnsweredBy('2', runner);
  for (const client of clients) assert.equal(await ask(client), '2');
  await runner.release(runner.spec('plain.cjs', {}, patient));
  for (const client of clients) assert.equal(await ask(client), '3');
});

test('under load, no orphan answers after the release of the next runner has answered (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const load = new Load(runner.port, 16);
  t.after(() => load.stop());
  const rounds = 4;
  for (let round = 1; round <= rounds; round += 1) {
    await answersMore(load);
    await runner.kill();
    await runner.launch();
    await runner.release(runner.spec('plain.cjs'));
  }
  await answersMore(load);
  reportOf(await load.stop(), rounds);
});

test('a request in flight on a retired worker is answered although the runner dies (thorough)', async (t) => {
  const runner = await TestRunner.start(t, {
    NODE_OPTIONS: `--import=${killer}`,
    KILL_AT: 'opened',
    KILL_AT_COUNT: '2',
  });
  const lasting = () => runner.spec('plain.cjs', { drainTimeout: '60s' }, patient);
  await runner.release(lasting());
  const client = connect(runner.port, '127.0.0.1').setEncoding('latin1');
  t.after(() => client.destroy());
  const headers = 'host: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n';
  client.write(`POST / HTTP/1.1\r\n${headers}\r\n`);
  assert.match(await nextText(client), /100 Continue/);
  await assert.rejects(runner.release(lasting()), { code: 'runner_unavailable' });
  await runner.launch();
  await runner.release(lasting());
  // The runner kills workers that have not reported by then.
  const end = performance.now() + reportsWithin + 1000;
  await waitFor(() => performance.now() > end);
  client.write('body');
  assert.match(await nextText(client), /^x-mark: 1\r$/m);
});

test('idle connections stay open if the runner dies while new workers wait for orphans (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const lasting = () => runner.spec('plain.cjs', { workers: 1 }, patient);
  await runner.release(lasting());
  const clients = await connectClients(t, runner);
  await runner.kill();
  await runner.launch({ NODE_OPTIONS: `--import=${killer}`, KILL_AT: 'opened' });
  await assert.rejects(runner.release(lasting()), { code: 'runner_unavailable' });
  await runner.launch();
  await runner.release(lasting());
  for (const client of clients) assert.equal(await ask(client), '3');
});

test('an orphan that gets `retire` again and again answers its requests in flight (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const lasting = () => runner.spec('plain.cjs', { drainTimeout: '60s' }, patient);
  await runner.release(lasting());
  const [idle] = await connectClients(t, runner);
  const busy = connect(runner.port, '127.0.0.1').setEncoding('latin1');
  t.after(() => busy.destroy());
  const headers = 'host: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n';
  busy.write(`POST / HTTP/1.1\r\n${headers}\r\n`);
  assert.match(await nextText(busy), /100 Continue/);
  await runner.kill();
  await runner.launch();
  for (const mark of ['2', '3', '4']) {
    await runner.release(lasting());
    assert.equal(await ask(idle as Socket), mark);
  }
  busy.write('body');
  assert.match(await nextText(busy), /^x-mark: 1\r$/m);
  // The connection has become idle on the orphan, and moves like the others.
  assert.equal(await ask(busy), '4');
});

for (const step of ['open', 'wait', 'opened']) {
  test(`if the next runner dies at "${step}" of its first switch, no old answer follows a new one, and no request waits for ever${thorough(step !== 'open')}`, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('plain.cjs', { drainTimeout: '60s' }, patient));
    const clients = await connectClients(t, runner);
    await runner.kill();
    await runner.launch({ NODE_OPTIONS: `--import=${killer}`, KILL_AT: step });
    const load = new Load(runner.port, 16);
    t.after(() => load.stop());
    await answersMore(load);
    await assert.rejects(runner.release(runner.spec('plain.cjs', { drainTimeout: '60s' }, patient)), {
      code: 'runner_unavailable',
    });
    await untilAnsweredBy('2', runner);
    const asked = clients.map((client) => ask(client));
    await runner.launch();
    await runner.release(runner.spec('plain.cjs', { drainTimeout: '60s' }, patient));
    await untilAnsweredBy('3', runner);
    for (const mark of await Promise.all(asked)) assert.match(mark ?? '', /^[23]$/);
    await answersMore(load);
    reportOf(await load.stop(), 2);
  });
}

/** @param takeovers number of times that orphans were retired: each time a port is closed */
function reportOf(report: LoadReport, takeovers: number): void {
  assert.deepEqual(orderViolations(report), []);
  // If the kernel does not move connections from a closed socket, it resets those that wait on the orphans' sockets.
  if (movesConnections()) assert.deepEqual(report.errors, []);
  else assert.ok(report.errors.length <= takeovers * 16, `${report.errors.length} lost`);
}

async function answersMore(load: Load): Promise<void> {
  const before = load.answered;
  await waitFor(() => load.answered > before + 200, { what: 'the load' });
}

async function untilAnsweredBy(mark: string, { port }: TestRunner): Promise<void> {
  const answer = () => fetchText(port, '/', { signal: AbortSignal.timeout(10_000) });
  await waitFor(
    async () => {
      // Some kernels reset a connection that waits on a closed port.
      const answered = await answer().catch(() => undefined);
      return answered?.body === mark;
    },
    { what: `an answer of release ${mark}` },
  );
}
