import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, lstat } from 'node:fs/promises';
import { type IncomingMessage, type RequestListener, request } from 'node:http';
import { BoundSocket, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { apiServerOptions } from '../../src/api/app.ts';
import { serveApi } from '../../src/server/serve.ts';
import { createLog } from '../../src/system/log/log.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a client that does not finish its headers in time is disconnected, however it sends them', async (t) => {
  const path = join(await temporaryDirectory(t), 'api.sock');
  const asked: (string | undefined)[] = [];
  const listener = (request: { url?: string | undefined }) => void asked.push(request.url);
  await using api = await serveApi(
    { host: '127.0.0.1', port: 0 },
    listener,
    [{ path, mode: 0o600, listener }],
    {
      log: createLog(process.stderr.fd, 'server'),
      options: { ...apiServerOptions, headersTimeout: 300, connectionsCheckingInterval: 50 },
    },
  );
  const port = Number(new URL(api.url).port);
  const clients = Array.from({ length: 30 }, (_, index) => {
    const socket = index % 2 === 0 ? connect(port, '127.0.0.1') : connect(path);
    // A third each: sends a header now and then, the bytes of one header one by one, or nothing at all.
    const trickle = ['X-A: b\r\n', 'x', ''][index % 3] ?? '';
    return trickleHeaders(t, socket, trickle);
  });
  assert.equal(clients.length, 30);
  for (const answer of await Promise.all(clients)) assert.match(answer, /^(?:HTTP\/1\.1 408 |$)/);
  assert.deepEqual(asked, []);
});

test('a socket of systemd is served only if it admits no others than the settings say', async (t) => {
  const directory = await temporaryDirectory(t);
  const asked: string[] = [];
  for (const [name, mode, isServed] of [
    ['fitting', 0o600, true],
    ['wide', 0o660, false],
  ] as const) {
    const passed = join(directory, `${name}.sock`);
    const socket = new BoundSocket({ path: passed } as object);
    t.after(() => socket.close());
    await chmod(passed, mode);
    const path = join(directory, `${name}.link`);
    const listener: RequestListener = (_request, response) => {
      asked.push(name);
      response.end();
    };
    await using _api = await serveApi(
      { host: '127.0.0.1', port: 0 },
      () => assert.fail(),
      [{ name: 'local', path, mode: 0o600, listener }],
      { log: createLog(process.stderr.fd, 'server'), passed: [{ fd: socket.fd(), name: 'local' }] },
    );
    assert.equal((await lstat(path)).isSymbolicLink(), isServed);
    const ask = request({ socketPath: path, agent: false }).end();
    const [response] = (await once(ask, 'response')) as [IncomingMessage];
    assert.equal(response.statusCode, 200);
    response.resume();
  }
  assert.deepEqual(asked, ['fitting', 'wide']);
});

test('the API servers check for late clients much more often than the time limit for headers', () => {
  const { headersTimeout = 0, connectionsCheckingInterval = 30_000 } = apiServerOptions;
  assert.ok(headersTimeout > 0 && connectionsCheckingInterval <= headersTimeout / 5);
});

test('an endless answer notices that its client has gone, also if the request asks for a WebSocket', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await using api = await serve((_request, response) => {
    response.once('close', resolve);
    response.write('begun');
  });
  const client = await ask(api.url, '/v1/apps/shop/logs');
  await once(client, 'data');
  client.destroy();
  await promise;
});

test('the API stops although a client holds a connection that was upgraded', async (t) => {
  const begun = Promise.withResolvers<void>();
  const api = await serve(() => begun.resolve());
  const client = await ask(api.url, '/v1/apps/shop/run');
  t.after(() => client.destroy());
  await begun.promise;
  await api[Symbol.asyncDispose]();
});

function serve(listener: RequestListener) {
  return serveApi({ host: '127.0.0.1', port: 0 }, listener, [], {
    log: createLog(process.stderr.fd, 'server'),
  });
}

/** Sends a request for a WebSocket. */
async function ask(url: string, path: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n`);
  return socket;
}

/** Sends the start of a request, then `piece` again and again. @returns what the server answers until it disconnects */
async function trickleHeaders(
  t: { after(end: () => void): void },
  socket: Socket,
  piece: string,
): Promise<string> {
  t.after(() => socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  if (piece !== '') socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n');
  const timer = setInterval(() => piece !== '' && socket.write(piece), 20);
  try {
    return await text(socket);
  } catch {
    // A reset: the server has disconnected while more bytes were on their way.
    return '';
  } finally {
    clearInterval(timer);
  }
}
