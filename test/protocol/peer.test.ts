import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { AppError } from '../../src/errors/app-error.ts';
import { CallClient } from '../../src/protocol/peer.ts';

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
