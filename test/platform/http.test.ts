import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, createServer, get, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { connect, createServer as createNetServer, type Socket } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { carriedBytes, carry, loads } from './support/carry.ts';
import { connected, converse, listening, nextRequest } from './support/servers.ts';

for (const load of loads) {
  for (const chunked of [true, false]) {
    const framing = chunked ? 'in chunks' : 'with a length';
    const count = Math.ceil(carriedBytes / Buffer.byteLength(load.piece));
    const length = chunked ? {} : { 'content-length': count * Buffer.byteLength(load.piece) };

    test(`a response of ${load.what} is whole, ${framing}, where its reader starts late`, async (t) => {
      const server = createServer();
      const port = await listening(t, server);
      const asked = get({ port, host: '127.0.0.1', agent: false });
      const [, response] = await nextRequest(server);
      response.writeHead(200, length).flushHeaders();
      const [answer] = (await once(asked, 'response')) as [IncomingMessage];
      await carry(response, answer, load);
    });

    test(`a request of ${load.what} is whole, ${framing}, where its reader starts late`, async (t) => {
      const server = createServer();
      const port = await listening(t, server);
      const sent = request({ port, host: '127.0.0.1', agent: false, method: 'POST', headers: length });
      sent.flushHeaders();
      const [received, response] = await nextRequest(server);
      await carry(sent, received, load);
      response.end();
      const [answer] = (await once(sent, 'response')) as [IncomingMessage];
      await text(answer);
    });
  }

  test(`a connection carries ${load.what} whole where its reader starts late`, async (t) => {
    const server = createNetServer({ pauseOnConnect: true });
    const port = await listening(t, server);
    const out = connect(port, '127.0.0.1');
    const [input] = (await once(server, 'connection')) as [Socket];
    await carry(out, input, load);
  });
}

test('a stream of text that is piped to a response arrives whole', async (t) => {
  const row = `${'東京都渋谷区,Größe,Привет мир'.repeat(10)}\n`;
  const rows = Array.from({ length: 40_000 }, () => row);
  const port = await serve(t, (_request, response) => void Readable.from(rows).pipe(response));
  const asked = get({ port, host: '127.0.0.1', agent: false });
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  assert.equal(await text(answer), rows.join(''));
});

test('a corked response is sent whole and drains', async (t) => {
  const server = createServer();
  const port = await listening(t, server);
  const asked = get({ port, host: '127.0.0.1', agent: false });
  const [, response] = await nextRequest(server);
  const piece = '語'.repeat(100_000);
  for (const _ of Array(5)) {
    response.cork();
    const isFull = !response.write(piece);
    response.write('-');
    process.nextTick(() => response.uncork());
    if (isFull && response.writableNeedDrain) {
      await once(response, 'drain', { signal: AbortSignal.timeout(20_000) });
    }
  }
  response.end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  assert.equal(await text(answer), `${piece}-`.repeat(5));
});

test('requests that arrive together on one connection are answered in order', async (t) => {
  const waiting: (() => void)[] = [];
  const port = await serve(t, ({ url }, response) => {
    waiting.push(() => response.end(url));
    // The server answers the last request first.
    if (waiting.length === 3) for (const answer of waiting.reverse()) answer();
  });
  const head = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`;
  const said = await converse(port, head('/1') + head('/2') + head('/3', 'connection: close\r\n'));
  assert.deepEqual(said.match(/^\/\d/gm), ['/1', '/2', '/3']);
});

test('a kept connection serves requests one after the other, up to its limit', async (t) => {
  const server = createServer((_request, response) => response.end('here'));
  server.maxRequestsPerSocket = 3;
  const port = await listening(t, server);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ports = new Set<number | undefined>();
  for (const expected of ['keep-alive', 'keep-alive', 'close']) {
    const [answer] = (await once(get({ port, host: '127.0.0.1', agent }), 'response')) as [IncomingMessage];
    ports.add(answer.socket.localPort);
    assert.equal(answer.headers.connection, expected);
    await text(answer);
  }
  assert.equal(ports.size, 1);
});

test('a client that waits for "100 Continue" before its body gets it', async (t) => {
  const port = await serve(t, async (received, response) => void response.end(await text(received)));
  const sent = request({
    ...{ port, host: '127.0.0.1', agent: false, method: 'POST' },
    headers: { expect: '100-continue' },
  });
  sent.flushHeaders();
  await once(sent, 'continue');
  sent.end('body');
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  assert.equal(await text(answer), 'body');
});

test('responses that must have no body have none, and trailers follow a body', async (t) => {
  const port = await serve(t, ({ method, url }, response) => {
    const hasBody = method === 'GET' && url === '/200';
    response.writeHead(Number(url?.slice(1)), hasBody ? { trailer: 'x-sum' } : {});
    response.write('body');
    if (hasBody) response.addTrailers({ 'x-sum': '4' });
    response.end();
  });
  const ask = async (method: string, path: string) => {
    const asked = request({ port, host: '127.0.0.1', agent: false, method, path }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    return [await text(answer), answer.trailers['x-sum']];
  };
  assert.deepEqual(await ask('GET', '/200'), ['body', '4']);
  assert.deepEqual(await ask('HEAD', '/200'), ['', undefined]);
  assert.deepEqual(await ask('GET', '/204'), ['', undefined]);
  assert.deepEqual(await ask('GET', '/304'), ['', undefined]);
});

test('an upgraded connection carries bytes that were sent with the request, and bytes both ways', async (t) => {
  const server = createServer();
  server.on('upgrade', (_request, socket, head) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
    socket.write(head);
    socket.pipe(socket);
  });
  const port = await listening(t, server);
  const socket = await connected(port);
  socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst ');
  socket.end('second');
  assert.match(await text(socket), /^HTTP\/1\.1 101 [\s\S]*\r\n\r\nfirst second$/);
});

test('a server notices that its client has disconnected, before and during an answer', async (t) => {
  const server = createServer();
  const port = await listening(t, server);
  for (const begins of [false, true]) {
    const asked = get({ port, host: '127.0.0.1', agent: false });
    asked.on('error', () => undefined);
    const [, response] = await nextRequest(server);
    const gone = once(response, 'close');
    if (begins) {
      response.write('first');
      await once(asked, 'response');
    }
    asked.destroy();
    await gone;
    assert.equal(response.writableFinished, false);
    assert.equal(response.write('late'), false);
  }
});

test('an upload that breaks off ends with an error, and the server keeps running', async (t) => {
  const server = createServer();
  const port = await listening(t, server);
  const socket = await connected(port);
  socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf');
  const [received, response] = await nextRequest(server);
  const failed = assert.rejects(text(received), { code: 'ECONNRESET' });
  socket.resetAndDestroy();
  await failed;
  response.end();
  server.once('request', (_request, next: ServerResponse) => next.end('on'));
  assert.match(await converse(port, 'GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'), /on$/);
});

test('a client that closes its half after the request gets its answer', async (t) => {
  const port = await serve(t, ({ url }, response) => void setImmediate(() => response.end(url)));
  const socket = await connected(port);
  socket.end('GET /half HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  assert.match(await text(socket), /\/half$/);
});

for (const [what, sent, status] of [
  ['no HTTP', 'hello\r\n\r\n', 400],
  [
    'a length and chunks',
    'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  ['two lengths', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nbody', 400],
  ['a length that is no number', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +4\r\n\r\nbody', 400],
  ['a header that is cut', 'GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n', 400],
  ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['a head of 20 kB', `GET / HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
] as const) {
  test(`${what} is refused with ${status}`, async (t) => {
    const port = await serve(t, (_request, response) => response.end('served'));
    assert.match(await converse(port, sent), new RegExp(`^HTTP/1\\.1 ${status} `));
  });
}

test('a head and a request that take too long are refused with 408', async (t) => {
  const limits = { headersTimeout: 100, requestTimeout: 200, connectionsCheckingInterval: 20 };
  const server = createServer(limits, (received) => received.resume());
  const port = await listening(t, server);
  assert.match(await converse(port, 'GET / HTTP/1.1\r\nhost: x\r\n'), /^HTTP\/1\.1 408 /);
  // A client that keeps writing may be reset before it reads the answer, so this one waits.
  const said = await converse(port, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx');
  assert.match(said, /^HTTP\/1\.1 408 /);
});

test('a kept connection is closed after the time in its keep-alive header', async (t) => {
  const server = createServer({ keepAliveTimeout: 50 }, (_request, response) => response.end('here'));
  const port = await listening(t, server);
  const said = await converse(port, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  assert.match(said, /here$/);
});

test('a server that closes ends idle connections at once, and a busy connection after its answer', async (t) => {
  const server = createServer();
  const port = await listening(t, server);
  const idle = await connected(port);
  const busy = await connected(port);
  busy.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  const [, response] = await nextRequest(server);
  const closed = once(server, 'close');
  server.close();
  await once(idle.resume(), 'close');
  assert.equal(busy.readyState, 'open');
  response.end('last', () => server.closeIdleConnections());
  assert.match(await text(busy), /last$/);
  await closed;
});

test('fetch streams a body both ways, and its abort reaches the server', async (t) => {
  const server = createServer();
  const port = await listening(t, server);
  const url = `http://127.0.0.1:${port}/`;
  const body = new PassThrough();
  body.write('語');
  const answering = fetch(url, { method: 'POST', body: Readable.toWeb(body), duplex: 'half' } as RequestInit);
  const [received, response] = await nextRequest(server);
  received.pipe(response);
  const reader = ((await answering).body as ReadableStream<Uint8Array>).getReader();
  assert.equal(Buffer.from((await reader.read()).value ?? []).toString(), '語');
  body.end('end');
  assert.equal(Buffer.from((await reader.read()).value ?? []).toString(), 'end');
  assert.equal((await reader.read()).done, true);

  const abort = new AbortController();
  const aborted = assert.rejects(fetch(url, { signal: abort.signal }), { name: 'AbortError' });
  const [, unanswered] = await nextRequest(server);
  const gone = once(unanswered, 'close');
  abort.abort();
  await Promise.all([aborted, gone]);
});

function serve(t: TestContext, answer: (request: IncomingMessage, response: ServerResponse) => void) {
  return listening(t, createServer(answer));
}
