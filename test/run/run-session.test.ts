import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { runWindow, serveRun } from '../../src/api/run-session.ts';
import type { OneOffHandle, OneOffReader } from '../../src/deploy/one-off.ts';
import { firstOf } from '../../src/system/concurrency/deadline.ts';
import { waitFor } from '../support/wait.ts';

interface ServeOptions {
  /** messages of the client that arrive before the command has started */
  early?: object[];
}

/** Serves one command on a WebSocket; the test is the runner. */
async function serve(t: TestContext, { early = [] }: ServeOptions = {}) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  t.after(() => server.close());
  await once(server, 'listening');
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.after(() => client.terminate());
  const messages: Record<string, unknown>[] = [];
  client.on('message', (data: Buffer, isBinary) => {
    if (!isBinary) messages.push(JSON.parse(data.toString()));
  });
  const [socket] = (await once(server, 'connection')) as [WebSocket];
  const exited = Promise.withResolvers<void>();
  const writes: { data: Buffer; taken: () => void }[] = [];
  const calls: string[] = [];
  const answers: (() => void)[] = [];
  const call = (what: string) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    calls.push(what);
    answers.push(resolve);
    return promise;
  };
  let isPaused = false;
  const handle: OneOffHandle = {
    ...{ id: 'abc', release: 1 },
    write(data) {
      const { promise, resolve } = Promise.withResolvers<void>();
      writes.push({ data, taken: resolve });
      return promise;
    },
    endInput: () => calls.push('endInput'),
    resize: ({ rows, columns }) => call(`${rows}x${columns}`),
    signal: (name) => call(name),
    pause() {
      isPaused = true;
    },
    resume() {
      isPaused = false;
    },
  };
  const started = Promise.withResolvers<OneOffReader>();
  const readsEarly = Promise.withResolvers<void>();
  const served = serveRun(socket, async (_request, reader, signal) => {
    await readsEarly.promise;
    reader.started(handle);
    started.resolve(reader);
    await firstOf([exited.promise], [signal]);
    signal.throwIfAborted();
    return { status: 0, signal: null, durationMs: 1, shortage: null };
  });
  if (client.readyState !== client.OPEN) await once(client, 'open');
  // In one packet, so that the messages arrive together.
  const packets = (client as unknown as { _socket: Socket })._socket;
  packets.cork();
  for (const message of [{ run: { command: 'x' } }, ...early]) client.send(JSON.stringify(message));
  packets.uncork();
  // A ping is answered after all messages before it.
  client.ping();
  await once(client, 'pong');
  readsEarly.resolve();
  const reader = await started.promise;
  return {
    client,
    socket,
    messages,
    writes,
    calls,
    answers,
    reader,
    served,
    exited,
    isPaused: () => isPaused,
  };
}

test('many small messages of input become one call at a time, and empty ones none', async (t) => {
  const { client, messages, writes, calls, exited, served } = await serve(t);
  for (let count = 0; count < 5000; count += 1) {
    client.send(Buffer.of(count % 256));
    client.send(Buffer.alloc(0));
  }
  client.send(JSON.stringify({ end: true }));
  client.send(JSON.stringify({ signal: 'SIGINT' }));
  await waitFor(() => calls.includes('SIGINT'));
  assert.equal(writes.length, 1);
  writes[0]?.taken();
  await waitFor(() => writes.length === 2);
  assert.deepEqual(calls, ['SIGINT'], 'the input ends after its last byte');
  writes[1]?.taken();
  await waitFor(() => calls.includes('endInput'));
  const all = Buffer.concat(writes.map(({ data }) => data));
  assert.deepEqual(all, Buffer.from(Array.from({ length: 5000 }, (_, at) => at % 256)));
  await waitFor(() => messages.reduce((sum, { taken }) => sum + Number(taken ?? 0), 0) === 5000);
  assert.equal(writes.length, 2);
  exited.resolve();
  await served;
});

test('output waits for a client that reports it as taken and does not read', async (t) => {
  const { client, socket, reader, isPaused, served } = await serve(t);
  client.pause();
  const mostRounds = 400;
  for (let round = 0; round < mostRounds && socket.readyState === socket.OPEN; round += 1) {
    while (!isPaused()) reader.output('stdout', Buffer.alloc(65_536));
    assert.ok(socket.bufferedAmount < 3 * runWindow, `${socket.bufferedAmount} bytes wait`);
    const received = once(socket, 'message');
    client.send(JSON.stringify({ taken: runWindow }));
    await received;
  }
  await served;
  assert.notEqual(socket.readyState, socket.OPEN);
});

test('a flood of resizes becomes one call at a time, with the newest size, and one of signals a few calls', {
  timeout: 60_000,
}, async (t) => {
  const { client, calls, answers, exited, served } = await serve(t);
  const signals = ['SIGINT', 'SIGTERM'];
  for (let count = 1; count <= 3000; count += 1) {
    client.send(JSON.stringify({ resize: { rows: count, columns: 80 } }));
    client.send(JSON.stringify({ signal: signals[count % 2] }));
  }
  client.ping();
  await once(client, 'pong');
  const few = Array.from({ length: 8 }, () => ['SIGTERM', 'SIGINT']).flat();
  assert.deepEqual(calls, ['1x80', ...few]);
  for (const answer of answers.splice(0)) answer();
  await waitFor(() => calls.length === 20);
  assert.deepEqual(calls.slice(17).sort(), ['3000x80', 'SIGINT', 'SIGTERM']);
  for (const answer of answers.splice(0)) answer();
  exited.resolve();
  await served;
  assert.equal(calls.length, 20);
});

test('each signal reaches a command whose output waits for the client', async (t) => {
  const { client, calls, reader, isPaused, exited, served } = await serve(t);
  while (!isPaused()) reader.output('stdout', Buffer.alloc(65_536));
  for (let count = 0; count < 3; count += 1) client.send(JSON.stringify({ signal: 'SIGINT' }));
  client.ping();
  await once(client, 'pong');
  assert.deepEqual(calls, ['SIGINT', 'SIGINT', 'SIGINT']);
  exited.resolve();
  await served;
});

test('a client that floods a command that does not answer is disconnected', {
  timeout: 60_000,
}, async (t) => {
  const { client, socket, calls, messages, served } = await serve(t);
  for (let count = 0; count < 20_000; count += 1)
    client.send(JSON.stringify({ resize: { rows: 24, columns: 80 } }));
  await served;
  assert.deepEqual(calls, ['24x80']);
  await waitFor(() => socket.readyState === socket.CLOSED);
  assert.match(JSON.stringify(messages), /messages wait for the command/);
});

test('messages before the start of the command take effect at its start', { timeout: 60_000 }, async (t) => {
  const resize = (rows: number) => ({ resize: { rows, columns: 80 } });
  const early = [
    { end: true },
    resize(1),
    { signal: 'SIGINT' },
    resize(2),
    { signal: 'SIGINT' },
    { end: true },
  ];
  const { calls, exited, served } = await serve(t, { early });
  assert.deepEqual(calls, ['2x80', 'SIGINT', 'endInput']);
  exited.resolve();
  await served;
});
