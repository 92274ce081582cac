import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { fetchText, keepAliveAgent } from '../support/http.ts';
import { appNode, TestRunner } from '../support/runner.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

/** A busy machine may take longer than the 5 s after which Node closes an idle connection. */
const patient = { KEEP_ALIVE_TIMEOUT: '60000' };

test('an idle kept-alive connection moves to the new release and stays open', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', {}, patient));
  const agent = keepAliveAgent();
  t.after(() => agent.destroy());
  const ports = new Set<number | undefined>();
  agent.on('free', (socket: Socket) => ports.add(socket.localPort));
  assert.equal((await fetchText(runner.port, '/', { agent })).body, '1');
  for (let release = 2; release <= 4; release += 1) {
    await runner.release(runner.spec('plain.cjs', {}, patient));
    assert.equal((await fetchText(runner.port, '/', { agent })).body, String(release));
  }
  assert.equal(ports.size, 1);
});

test("a connection that has moved is closed after the app's keepAliveTimeout, which spares its next request (thorough)", async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('early.cjs', { workers: 1 }));
  const socket = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  t.after(() => socket.destroy());
  const ask = async (path: string) => {
    socket.write(`GET ${path} HTTP/1.1\r\nhost: app\r\n\r\n`);
    return String((await once(socket, 'data'))[0]);
  };
  // Node.js's own is 5 s, and it adds one.
  const keep: Record<number, Record<string, string>> = { 2: { KEEP: '3000' }, 3: { KEEP: '8000' } };
  // A boot may take longer than an idle connection is kept.
  const booted: number[] = [];
  for (let release = 2; release <= 3; release += 1)
    booted.push((await runner.boot(runner.spec('early.cjs', { workers: 1 }, keep[release]))).generation);
  const [second, third] = booted as [number, number];
  assert.match(await ask('/'), /x-mark: 1/);
  await runner.client.call('switch', { key: 'shop', generation: second });
  assert.match(await ask('/long'), /x-mark: 2/);
  await runner.client.call('switch', { key: 'shop', generation: third });
  const since = performance.now();
  socket.on('data', (text) => assert.fail(`unasked for: ${text}`));
  await Promise.race([
    once(socket, 'close'),
    sleep(60_000, undefined, { ref: false }).then(() => assert.fail('it is still open')),
  ]);
  assert.ok(performance.now() - since > 7000, 'by the value of the app that has it now');
});

test('a connection that has not sent a byte yet moves too (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const socket = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  t.after(() => socket.destroy());
  await new Promise((resolve) => socket.once('connect', resolve));
  await fetchText(runner.port);
  await runner.release(runner.spec('plain.cjs'));
  const answer = new Promise<string>((resolve) => socket.once('data', resolve));
  socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
  assert.match(await answer, /x-mark: 2/);
});

test('a request that was sent half before the switch is answered whole, by the release it began on', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '30s' }));
  const socket = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  t.after(() => socket.destroy());
  let answer = '';
  socket.on('data', (text: string) => {
    answer += text;
  });
  const head = 'POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 12\r\nexpect: 100-continue\r\n\r\n';
  socket.write(`${head}first `);
  // Accepted and not yet read, it would be for the new release to answer.
  await waitFor(() => answer.startsWith('HTTP/1.1 100'), { what: 'a request in flight' });
  await runner.release(runner.spec('plain.cjs'));
  assert.equal((await fetchText(runner.port)).body, '2');
  socket.write('second');
  await waitFor(() => answer.includes('first second'), { what: 'the answer' });
  assert.match(answer, /x-mark: 1/);
});

for (const when of ['before', 'after']) {
  test(`a connection whose request was answered before its body came moves when it has come (answered ${when} the switch)${thorough(when !== 'after')}`, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('early.cjs', { workers: 1, drainTimeout: '30s' }));
    const socket = connect(runner.port, '127.0.0.1').setEncoding('utf8');
    t.after(() => socket.destroy());
    const { generation } = await runner.boot(runner.spec('early.cjs', { workers: 1 }));
    const [path, expect] = when === 'before' ? ['/', ''] : ['/long', 'expect: 100-continue\r\n'];
    socket.write(`POST ${path} HTTP/1.1\r\nhost: app\r\ncontent-length: 12\r\n${expect}\r\nfirst `);
    // Accepted and not yet read, it would be for the new release to answer.
    const [begin] = await once(socket, 'data');
    const answer = when === 'before' ? begin : once(socket, 'data');
    await runner.client.call('switch', { key: 'shop', generation });
    assert.match(String(await answer), /x-mark: 1/);
    socket.write('second');
    await waitFor(async () => (await runner.client.call('status', {}))[0]?.draining.length === 0);
    socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
    assert.match(String(await once(socket, 'data')), /x-mark: 2/);
  });
}

test('a websocket and a streamed download that were open before a switch stay on the old release', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('websocket.mjs', { workers: 1, drainTimeout: '30s' }));
  const socket = new WebSocket(`ws://127.0.0.1:${runner.port}`);
  t.after(() => socket.terminate());
  const next = () =>
    new Promise<string>((resolve) => socket.once('message', (data) => resolve(String(data))));
  await new Promise((resolve) => socket.once('open', resolve));
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '30s' }));

  const request = get({ host: '127.0.0.1', port: runner.port, path: '/stream', agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const download = text(response);
  await runner.release(runner.spec('plain.cjs'));
  assert.equal((await fetchText(runner.port)).body, '3');

  const reply = next();
  socket.send('still there?');
  assert.equal(await reply, '1 still there?');
  assert.equal(await download, '2\n'.repeat(10));
  const after = next();
  socket.send('and now?');
  assert.equal(await after, '1 and now?');
  socket.terminate();
});

test('what is still open after drainTimeout is cut off (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('websocket.mjs', { workers: 1, drainTimeout: 300 }));
  const socket = new WebSocket(`ws://127.0.0.1:${runner.port}`);
  await new Promise((resolve) => socket.once('open', resolve));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => undefined);
  await runner.release(runner.spec('plain.cjs'));
  await closed;
  await waitFor(async () => (await runner.client.call('status', {}))[0]?.draining.length === 0);
});

test('at most three retired generations linger: the oldest is ended first (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const sockets: WebSocket[] = [];
  const closed: number[] = [];
  for (let release = 1; release <= 5; release += 1) {
    await runner.release(runner.spec('websocket.mjs', { workers: 1, drainTimeout: '60s' }));
    const socket = new WebSocket(`ws://127.0.0.1:${runner.port}`);
    socket.on('close', () => closed.push(release));
    await new Promise((resolve) => socket.once('open', resolve));
    sockets.push(socket);
  }
  await waitFor(() => closed.length > 0, { what: 'the end of the oldest' });
  assert.deepEqual(closed, [1]);
  await waitFor(async () => (await runner.client.call('status', {}))[0]?.draining.join() === '2,3,4');
  for (const socket of sockets) socket.terminate();
});

test('no worker takes all idle connections, and none takes more than its limit of open files allows (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  // Without the rights of root, which pass the kernel's limit of descriptors in flight too.
  const node = join(runner.paths.home, 'limited-node');
  const drop = process.getuid?.() === 0 ? 'setpriv --bounding-set=-all --inh-caps=-all' : '';
  await writeFile(node, `#!/bin/sh\nulimit -n 150\nexec ${drop} "${appNode}" "$@"\n`, { mode: 0o755 });
  const spec = () => runner.spec('plain.cjs', { workers: 4, drainTimeout: '60s' }, patient);
  await runner.release(spec());
  const sockets = Array.from({ length: 300 }, () => connect(runner.port, '127.0.0.1').setEncoding('latin1'));
  t.after(() => sockets.map((socket) => socket.destroy()));
  const ask = async (socket: Socket) => {
    const closed = once(socket, 'close').then(() => assert.fail('closed'));
    socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
    const [answer] = (await Promise.race([once(socket, 'data'), closed])) as [string];
    return { mark: /x-mark: (\d+)/.exec(answer)?.[1], pid: /x-pid: (\d+)/.exec(answer)?.[1] };
  };
  await Promise.all(sockets.map(ask));
  for (const release of ['2', '3']) {
    await runner.release({ ...spec(), node });
    const answers = await Promise.all(sockets.map(ask));
    assert.deepEqual(new Set(answers.map(({ mark }) => mark)), new Set([release]));
    const shares = [...Map.groupBy(answers, ({ pid }) => pid).values()].map(({ length }) => length);
    t.diagnostic(`answered by each worker: ${shares.join(', ')}`);
    assert.equal(shares.length, 4);
    assert.ok(Math.max(...shares) < 150);
  }
});

test('2,000 idle connections move and answer from the new release', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '60s' }, patient));
  const sockets: Socket[] = [];
  t.after(() => sockets.map((socket) => socket.destroy()));
  const request = 'GET / HTTP/1.1\r\nhost: app\r\n\r\n';
  const ask = (socket: Socket) =>
    new Promise<string>((resolve, reject) => {
      socket.once('data', (data) => resolve(/x-mark: (\d+)/.exec(String(data))?.[1] ?? ''));
      socket.once('close', () => reject(new Error('closed')));
      socket.write(request);
    });
  for (let index = 0; index < 2000; index += 1) sockets.push(connect(runner.port, '127.0.0.1'));
  assert.deepEqual(new Set(await Promise.all(sockets.map(ask))), new Set(['1']));
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '60s' }, patient));
  const start = performance.now();
  assert.deepEqual(new Set(await Promise.all(sockets.map(ask))), new Set(['2']));
  t.diagnostic(`all answered ${Math.round(performance.now() - start)} ms after the switch`);
});

test('idle connections in handoff at the next switch reach the newest release (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '60s' }, patient));
  const sockets: Socket[] = [];
  t.after(() => sockets.map((socket) => socket.destroy()));
  const ask = (socket: Socket) =>
    new Promise<string>((resolve, reject) => {
      socket.once('data', (data) => resolve(/x-mark: (\d+)/.exec(String(data))?.[1] ?? ''));
      socket.once('close', () => reject(new Error('closed')));
      socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
    });
  for (let index = 0; index < 1000; index += 1) sockets.push(connect(runner.port, '127.0.0.1'));
  assert.deepEqual(new Set(await Promise.all(sockets.map(ask))), new Set(['1']));
  const booted: number[] = [];
  for (let release = 2; release <= 4; release += 1)
    booted.push((await runner.boot(runner.spec('plain.cjs', { drainTimeout: '60s' }, patient))).generation);
  for (const generation of booted) await runner.client.call('switch', { key: 'shop', generation });
  assert.deepEqual(new Set(await Promise.all(sockets.map(ask))), new Set(['4']));
});
