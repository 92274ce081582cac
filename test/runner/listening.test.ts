import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { isListenedOn } from '../../src/system/net/listeners.ts';
import { nextText } from '../support/clients.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { sharesPorts, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const soon = () => ({ signal: AbortSignal.timeout(3000) });

test("a port beside the app's own is served too where its host is a name", async (t) => {
  const runner = await TestRunner.start(t);
  const other = await freePort();
  const environment = { HOW: 'beside', OTHER_PORT: String(other) };
  await runner.release(runner.spec('listening.cjs', { workers: 1 }, environment));
  assert.equal((await fetchText(other, '/', { host: 'localhost', ...soon() })).body, 'beside');
});

test('an app that passes every option of listen, as SvelteKit apps do, goes live (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('listening.cjs', { workers: 2 }, { HOW: 'path-false' }));
  assert.equal((await fetchText(runner.port, '/', soon())).body, '1');
});

for (const how of ['probe', 'slowly']) {
  test(`an app that tries its port before it listens on it is served by the server it listens with (${how})`, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('listening.cjs', { workers: 1 }, { HOW: how }));
    assert.equal((await fetchText(runner.port, '/', soon())).body, '1');
  });
}

test('an app that replaces the loader of modules goes live, and is switched', async (t) => {
  const runner = await TestRunner.start(t);
  const other = await freePort();
  for (const MARK of ['one', 'two']) {
    const environment = { HOW: 'other-loader', OTHER_PORT: String(other), MARK };
    await runner.release(runner.spec('listening.cjs', { workers: 1 }, environment));
    assert.equal((await fetchText(runner.port, '/', soon())).body, MARK);
    const beside = () => fetchText(other, '/', { host: 'localhost', ...soon() });
    // In an older Node.js, the next worker gets the port once the last worker has closed it.
    const { body } = sharesPorts()
      ? await beside()
      : await waitFor(() => beside().catch(() => false as const));
    assert.equal(body, 'beside');
  }
});

test("a server that replaces the first one on a port of the app's own choice is served (thorough)", async (t) => {
  const runner = await TestRunner.start(t);
  const environment = { HOW: 'another-server', OTHER_PORT: String(await freePort()) };
  await runner.release(runner.spec('listening.cjs', { workers: 1 }, environment));
  assert.equal((await fetchText(runner.port, '/again', soon())).body, 'first');
  assert.equal((await fetchText(runner.port, '/', soon())).body, 'another');
});

test('an app that closes its server and listens again is served again (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('listening.cjs', { workers: 1 }, { HOW: 'again' }));
  for (let times = 0; times < 4; times += 1) {
    assert.equal((await fetchText(runner.port, '/again', soon())).body, '1');
    assert.equal((await fetchText(runner.port, '/', soon())).body, '1');
  }
});

test('an app that changes its port closes the former one at once, although a request is in flight and a release was on standby', async (t) => {
  const runner = await TestRunner.start(t);
  const settings = { drainTimeout: '60s', keepWarm: '60s' };
  for (const _release of ['standby', 'active']) await runner.release(runner.spec('plain.cjs', settings));
  const client = connect(runner.port, '127.0.0.1').setEncoding('latin1');
  t.after(() => client.destroy());
  client.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
  assert.match(await nextText(client), /100 Continue/);

  const port = await freePort();
  await runner.release({ ...runner.spec('plain.cjs', settings, { PORT: String(port) }), port });
  assert.equal((await fetchText(port, '/', soon())).body, '3');
  const isClosed = async () => (await isListenedOn('127.0.0.1', runner.port)) === false;
  await waitFor(isClosed, { what: 'the end of the former port', timeout: 30_000 });
  client.write('body');
  assert.match(await nextText(client), /^x-mark: 2\r$/m);
});
