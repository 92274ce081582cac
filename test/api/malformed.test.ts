import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { originForm } from '../../src/api/koa.ts';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const { port } = new URL(sluice.url);
const listeners = {
  tcp: () => connect(Number(port), '127.0.0.1'),
  'unix socket': () => connect(sluice.paths.serverSocket),
  'ssh relay': () => connect(sluice.paths.sshSocket),
};

const malformed = [
  'http://',
  'http://[::1]:x/v1',
  'http://a:99999999/',
  'https://%/',
  '//a%@x/#q',
  '//a%ff@x/#q',
  '/#',
  '/v1/apps#x?y',
  '*',
  'ftp://x/',
];

for (const [name, open] of Object.entries(listeners)) {
  test(`the ${name} answers a malformed URL with 400, and the server keeps running`, async () => {
    for (const target of malformed) {
      const answer = await exchange(
        open(),
        `OPTIONS ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      );
      assert.match(answer, /^HTTP\/1\.1 400 /, target);
      assert.match(answer, /URL in the request line is malformed/, target);
      if (name !== 'ssh relay') assert.match(answer, /"code":"bad_request"/, target);
    }
    assert.equal((await sluice.request('/healthz')).status, 200);
  });
}

test('a header of the ssh relay with a wrong encoding is answered with 400', async () => {
  const head = 'POST /ssh HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n';
  const answer = await exchange(listeners['ssh relay'](), `${head}x-sluice-command: %\r\n\r\n`);
  assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*x-sluice-command/);
});

test('the API for the ssh relay answers HTTP/1.0, which has no trailers, with 400, and starts no git', async () => {
  const head = 'POST /ssh HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\nx-sluice-key: x\r\n\r\n';
  assert.match(await exchange(listeners['ssh relay'](), head), /^HTTP\/1\.1 400 [\s\S]*HTTP\/1\.1/);
});

const upgrade = 'GET /v1/apps/shop/run HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n';

test('a request for a WebSocket whose body has not arrived is answered like one that asks for nothing', async () => {
  for (const body of ['Content-Length: 2\r\n\r\na', 'Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n'])
    for (const open of [listeners.tcp, listeners['unix socket']])
      assert.match(
        await exchange(open(), upgrade.replace('upgrade', 'upgrade, close') + body),
        /^HTTP\/1\.1 4/,
      );
});

test('a request for a WebSocket behind a request that Node.js answers itself does not end the server', async () => {
  for (const first of ['GET / HTTP/1.1\r\n\r\n', 'GET / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n'])
    for (const open of [listeners.tcp, listeners['unix socket']])
      assert.match(await exchange(open(), `${first}${upgrade}\r\n`), /^(HTTP\/1\.1 4|$)/);
  assert.equal((await sluice.request('/healthz')).status, 200);
});

test('a request for a whole URL, as clients send to a proxy, is served by its path', async () => {
  const request = `GET http://anything:1/healthz?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  assert.match(await exchange(listeners.tcp(), request), /^HTTP\/1\.1 200 [\s\S]*"status":"ok"/);
  assert.equal(originForm('http://x/a/../b?c=%20'), '/b?c=%20');
  assert.equal(originForm('//x/y?z?'), '//x/y?z?');
  assert.equal(originForm('/a%ff'), '/a%ff');
});

test('none of these requests was logged as an internal error', async () => {
  assert.deepEqual(
    (await sluice.log()).filter(({ level }) => level === 'error'),
    [],
  );
});

async function exchange(socket: ReturnType<typeof connect>, request: string): Promise<string> {
  socket.write(request, 'latin1');
  return text(socket);
}
