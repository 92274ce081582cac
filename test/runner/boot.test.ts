import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AppError } from '../../src/errors/app-error.ts';
import { appLog } from '../support/app-log.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const broken: Record<string, { code: string; message: RegExp; settings?: object }> = {
  exit: { code: 'boot_exited', message: /exit status 3 before it listened\n.*DATABASE_URL is not set/ },
  missing: { code: 'boot_exited', message: /\| Error: Cannot find module 'no-such-package'/ },
  never: {
    code: 'boot_timeout',
    message: /no worker listened on port \d+ within 1\.0 s/,
    settings: { bootTimeout: '1s' },
  },
  // Long enough for the app to listen on a busy machine.
  unwell: {
    code: 'health_failed',
    message: /answered 500 to GET \/, and was not healthy within 5\.0 s \(it printed nothing\)\n {2}> oops$/,
    settings: { bootTimeout: '5s' },
  },
  moment: {
    code: 'settle_exited',
    message: /listened, and then ended with exit status 1\n(?:.|\n)*a moment later/,
    settings: { settleTime: '10s' },
  },
  early: {
    code: 'settle_exited',
    message: /listened, and then ended with exit status 1\n(?:.|\n)*before the second one listens/,
  },
  cluster: { code: 'boot_cluster', message: /^the app listens in the primary process of node:cluster/ },
  'cluster-none': {
    code: 'boot_cluster',
    message: /^the app listens in the primary process of node:cluster/,
  },
  'cluster-sticky': {
    code: 'boot_cluster',
    message: /^the app listens in the primary process of node:cluster/,
  },
  'cluster-late': {
    code: 'boot_cluster',
    message: /^the app listens in the primary process of node:cluster/,
    settings: { settleTime: '10s' },
  },
  'not-ready': {
    code: 'boot_timeout',
    message: /process\.send\('ready'\)/,
    settings: { waitReady: true, bootTimeout: '1s' },
  },
};

test('a release that fails to start is refused with the reason, and leaves nothing', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  for (const [how, { code, message, settings }] of Object.entries(broken)) {
    await t.test(`"${how}" fails as ${code}`, async () => {
      const spec = runner.spec('broken.cjs', settings, { HOW: how });
      await assert.rejects(runner.boot(spec), { code, message });
      assert.equal((await fetchText(runner.port)).body, '1');
      const [status] = await runner.client.call('status', {});
      assert.deepEqual(new Set(status?.workers.map(({ release }) => release)), new Set([1]));
    });
  }
});

test('a net server that does not speak HTTP is healthy when it accepts a connection (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.boot(runner.spec('broken.cjs', {}, { HOW: 'silent-tcp' }));
});

test('the hint for an app that starts processes with node:cluster names the setting to use (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('broken.cjs', {}, { HOW: 'cluster' });
  await assert.rejects(runner.boot(spec), (error: AppError) => {
    assert.match(error.hint, /"workers" in sluice\.json/);
    return true;
  });
  const directory = await temporaryDirectory(t);
  const script = join(directory, '.output/server/index.cjs');
  await cp(spec.script, script, { recursive: true });
  await assert.rejects(runner.boot({ ...spec, script }), (error: AppError) => {
    assert.match(error.hint, /NITRO_PRESET=node_server/);
    return true;
  });
});

test('the log names the release that did not start (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const broken = runner.spec('broken.cjs', {}, { HOW: 'missing' });
  await assert.rejects(runner.boot(broken), { code: 'boot_exited' });
  const line = await waitFor(async () => {
    const log = await appLog(broken.log.directory);
    return log.find(({ text }) => text.includes('no-such-package'));
  });
  assert.deepEqual([line.release, line.process, line.stream], [broken.release, 'web.0', 'err']);
});

test('an app that ignores PORT goes live with a notice, and opens its other ports beside the old release (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const [mail, metrics] = [await freePort(), await freePort()];
  const environment = { MAIL_PORT: String(mail), METRICS_PORT: String(metrics) };
  const first = await runner.release(runner.spec('hard-coded.cjs', {}, environment));
  assert.deepEqual(
    first.notices.map(({ code }) => code),
    ['hardcoded_port'],
  );
  assert.match(first.notices[0]?.message ?? '', /listens on 3000 and not on PORT/);
  assert.equal((await fetchText(runner.port)).body, '1');
  assert.equal((await fetchText(metrics)).body, 'metrics');

  const second = await runner.release(runner.spec('hard-coded.cjs', { port: metrics }, environment));
  assert.deepEqual(second.notices, []);
  assert.equal((await fetchText(runner.port)).body, 'metrics');
});

test('a port of another process is an error, and not shared with that process (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const other = createServer().listen({ port: runner.port, host: '127.0.0.1', reusePort: true });
  t.after(() => other.close());
  await new Promise((resolve) => other.once('listening', resolve));
  await assert.rejects(runner.boot(runner.spec('plain.cjs')), {
    code: 'port_taken',
    message: new RegExp(`${runner.port}`),
  });
});

test('a worker that cannot be started at all is tried again after growing delays (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const directory = await temporaryDirectory(t);
  await runner.release({ ...runner.spec('plain.cjs', { workers: 1 }), directory });
  await rm(directory, { recursive: true });
  const start = performance.now();
  process.kill((await runner.client.call('status', {}))[0]?.workers[0]?.pid ?? 0, 'SIGKILL');
  await waitFor(() => runner.output.split('could not be started').length > 5, { what: 'five attempts' });
  const took = performance.now() - start;
  // At once, and then after 100, 150, 225 and 337.5 ms.
  assert.ok(took > 800, `five attempts in ${took} ms`);
});

test('a generation on standby ends when its caller disconnects (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  await runner.boot(runner.spec('plain.cjs'));
  runner.client.close();
  await runner.connect();
  await waitFor(async () =>
    (await runner.client.call('status', {}))[0]?.workers.every(({ release }) => release === 1),
  );
});

test('after a stop no process listens on the port (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '30s' }));
  const socket = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  socket.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
  assert.match(String(await once(socket, 'data')), /^HTTP\/1.1 100/);
  const stopped = runner.client.call('stop', { key: 'shop' });
  await waitFor(() =>
    fetchText(runner.port).then(
      () => false,
      () => true,
    ),
  );
  socket.write('body');
  assert.match(String(await once(socket, 'data')), /x-mark: 1(?:.|\r|\n)*body$/);
  await stopped;
  await assert.rejects(fetchText(runner.port), { code: 'ECONNREFUSED' });
  await runner.release(runner.spec('plain.cjs'));
  assert.equal((await fetchText(runner.port)).body, '2');
});

test('a stop takes no longer than the requests in flight, also on kept-alive connections (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const patient = { KEEP_ALIVE_TIMEOUT: '60000' };
  await runner.release(runner.spec('plain.cjs', { workers: 1, drainTimeout: '60s' }, patient));
  const [whole, half] = [connect(runner.port, '127.0.0.1'), connect(runner.port, '127.0.0.1')];
  whole.write('GET /stream HTTP/1.1\r\nhost: app\r\n\r\n');
  half.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
  const ended = once(whole, 'end').then(() => performance.now());
  await Promise.all([once(whole, 'data'), once(half, 'data')]);
  const stopped = runner.client.call('stop', { key: 'shop' });
  await waitFor(() =>
    fetchText(runner.port).then(
      () => false,
      () => true,
    ),
  );
  half.write('body');
  assert.match(String(await once(half, 'data')), /connection: close/i);
  whole.resume();
  await stopped;
  // Some milliseconds. A stop that waited for idle connections would take most of a minute more.
  assert.ok(performance.now() - (await ended) < 10_000);
});

test('the hint explains an app that ends with its standard input', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('broken.cjs', { settleTime: '10s' }, { HOW: 'input' });
  await assert.rejects(runner.boot(spec), {
    code: 'settle_exited',
    hint: /end when their standard input ends/,
  });
});
