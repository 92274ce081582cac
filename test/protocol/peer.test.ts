import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { AppError } from '../../src/errors/app-error.ts';
import { CallClient, serveCalls } from '../../src/protocol/peer.ts';
import { waitFor } from '../support/wait.ts';

test('a call on a closing connection fails after its end, so that a second attempt gets a new connection', async (t) => {
  const server = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1');
  await once(socket, 'connect');
  const client = new CallClient<{ ask: { params: null; result: null; progress: never } }>(
    socket,
    () => new AppError('runner_unavailable', 'gone'),
  );
  let closed = false;
  void client.closed.then(() => {
    closed = true;
  });
  socket.destroy();
  await assert.rejects(client.call('ask', null), { code: 'runner_unavailable' });
  assert.equal(closed, true);
});

test('further calls of a caller that does not read the answers wait outside of the process', async () => {
  let answered = 0;
  let isRead = false;
  const waiting: (() => void)[] = [];
  const socket = new Duplex({
    read: () => undefined,
    write: (_data, _encoding, taken) => void (isRead ? taken() : waiting.push(taken)),
  });
  const ask = async () => {
    answered += 1;
    return null;
  };
  serveCalls<{ ask: { params: null; result: null; progress: never } }>(socket as Socket, { ask });
  for (let id = 0; id < 20_000; id += 1) {
    socket.push(`${JSON.stringify({ id, call: 'ask', params: null })}\n`);
    // A socket has some calls at a time, too.
    if (id % 100 === 0) await setImmediate();
  }
  await waitFor(() => socket.isPaused());
  assert.ok(answered < 5000, `${answered} calls were answered`);
  isRead = true;
  for (const taken of waiting) taken();
  await waitFor(() => answered === 20_000);
  assert.equal(socket.isPaused(), false);
});
