import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import { type AddressInfo, connect, Socket } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const path = fileURLToPath(new URL('../../src/worker/connections.cjs', import.meta.url));
const { allConnections } = createRequire(import.meta.url)(path) as {
  allConnections(server: Server): Socket[];
};

test('a list of all connections changes no method of sockets, so that their compiled code stays valid', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  assert.deepEqual(allConnections(server), []);
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => client.destroy());
  const [socket] = await accepted;
  const { destroy } = Socket.prototype;
  Object.defineProperty(Socket.prototype, 'destroy', {
    configurable: true,
    get: () => destroy,
    set: () => assert.fail('destroy has changed'),
  });
  t.after(() => Reflect.deleteProperty(Socket.prototype, 'destroy'));
  assert.deepEqual(allConnections(server), [socket]);
});
