import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { assertReachable } from '../../src/edge/reachability.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a server that breaks HTTP in its answer is reported as another machine', async (t) => {
  // Header and broken body in one segment: the parser fails right after the response has begun.
  const broken = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(broken));
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const options = { challenges: await temporaryDirectory(t), httpPort: port };
  await assert.rejects(assertReachable('localhost', options), {
    code: 'domain_unreachable',
    message: /127\.0\.0\.1 sent an incomplete answer/,
  });
});
