import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import { type AddressInfo, connect, Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const path = fileURLToPath(new URL('../../src/worker/connections.cjs', import.meta.url));
const { allConnections, idleConnections } = createRequire(import.meta.url)(path) as Record<
  'allConnections' | 'idleConnections',
  (server: object) => Socket[]
>;

test('a list of connections changes no method of sockets, so that their compiled code stays valid', async (t) => {
  const { server, sockets } = await serve(t);
  const { destroy } = Socket.prototype;
  Object.defineProperty(Socket.prototype, 'destroy', {
    configurable: true,
    get: () => destroy,
    set: () => assert.fail('destroy has changed'),
  });
  t.after(() => Reflect.deleteProperty(Socket.prototype, 'destroy'));
  const [answered, asking, untouched] = sockets;
  assert.deepEqual(new Set(allConnections(server)), new Set([answered, asking, untouched]));
  assert.deepEqual(new Set(idleConnections(server)), new Set([answered, untouched]));
});

test('the same connections are listed if Node.js has another name for its own list, and none is closed', async (t) => {
  const { server, sockets } = await serve(t);
  const [answered, asking, untouched] = sockets;
  const renamed = {
    closeAllConnections: () => server.closeAllConnections(),
    closeIdleConnections: () => server.closeIdleConnections(),
  };
  assert.deepEqual(new Set(allConnections(renamed)), new Set([answered, asking, untouched]));
  assert.deepEqual(new Set(idleConnections(renamed)), new Set([answered, untouched]));
  assert.ok(sockets.every(({ destroyed }) => !destroyed));
});

test('a server that has never listened has no connections', () => {
  assert.deepEqual(allConnections(createServer()), []);
  assert.deepEqual(idleConnections(createServer()), []);
});

/** Serves three connections: one with an answer, one whose request is open, and one without a request. */
async function serve(t: TestContext) {
  const server: Server = createServer(({ url }, response) => {
    if (url === '/') response.end();
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const sockets: Socket[] = [];
  for (const request of [
    'GET / HTTP/1.1\r\nhost: app\r\n\r\n',
    'GET /open HTTP/1.1\r\nhost: app\r\n\r\n',
    '',
  ]) {
    const accepted = once(server, 'connection');
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    t.after(() => client.destroy());
    const [socket] = (await accepted) as [Socket];
    sockets.push(socket);
    if (request === '') continue;
    const handled = once(server, 'request');
    client.write(request);
    const [, response] = await handled;
    if (request.startsWith('GET / ')) await once(client, 'data');
    else assert.equal(response.headersSent, false);
  }
  return { server, sockets };
}
