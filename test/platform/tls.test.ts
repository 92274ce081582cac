import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import * as http2 from 'node:http2';
import { createServer as createHttpsServer, get } from 'node:https';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect, createSecureContext, createServer, type TLSSocket } from 'node:tls';
import { carry, loads } from './support/carry.ts';
import { selfSigned } from './support/certificate.ts';
import { listening, nextRequest } from './support/servers.ts';

const [shop, blog] = await Promise.all([selfSigned('shop.test'), selfSigned('blog.test')]);

for (const load of loads) {
  test(`TLS carries ${load.what} whole where its reader starts late`, async (t) => {
    const server = createServer({ ...shop, pauseOnConnect: true });
    const port = await listening(t, server);
    const accepted = once(server, 'secureConnection');
    const out = await secure(t, port, 'shop.test');
    const [input] = (await accepted) as [TLSSocket];
    await carry(out, input, load);
  });

  test(`a response of ${load.what} is whole over https where its reader starts late`, async (t) => {
    const server = createHttpsServer(shop);
    const port = await listening(t, server);
    const asked = get({ port, host: '127.0.0.1', servername: 'shop.test', ca: shop.cert, agent: false });
    const [, response] = await nextRequest(server);
    response.flushHeaders();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    await carry(response, answer, load);
  });

  test(`streams of HTTP/2 carry ${load.what} whole, both ways at once, where their readers start late`, async (t) => {
    const { server, client } = await http2Pair(t);
    const up = client.request({ ':method': 'POST' });
    const [stream] = (await once(server, 'stream')) as [http2.ServerHttp2Stream];
    stream.respond();
    await Promise.all([carry(up, stream, load), carry(stream, up, load)]);
  });
}

test('each host name gets its certificate, and a new one is used from the next connection on', async (t) => {
  const contexts: Record<string, ReturnType<typeof createSecureContext>> = {
    'shop.test': createSecureContext(shop),
    'blog.test': createSecureContext(blog),
  };
  const server = createServer({
    SNICallback: (name, answer) => answer(null, contexts[name]),
    ...shop,
  });
  const port = await listening(t, server);
  const nameAt = async (name: string, ca: Buffer) => {
    const socket = await secure(t, port, name, { ca });
    assert.equal(socket.authorized, true);
    return socket.getPeerX509Certificate()?.fingerprint256;
  };
  const first = await nameAt('shop.test', shop.cert);
  assert.notEqual(await nameAt('blog.test', blog.cert), first);
  const renewed = await selfSigned('shop.test');
  contexts['shop.test'] = createSecureContext(renewed);
  assert.notEqual(await nameAt('shop.test', renewed.cert), first);
});

test('a client refuses a certificate that is not trusted or is for another name', async (t) => {
  const port = await listening(t, createServer(shop));
  await assert.rejects(secure(t, port, 'shop.test', { ca: blog.cert }), {
    code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
  });
  await assert.rejects(secure(t, port, 'blog.test', { ca: shop.cert }), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  });
});

test('a server asks its client for a certificate', async (t) => {
  const server = createServer({ ...shop, ca: [blog.cert], requestCert: true, rejectUnauthorized: true });
  server.on('secureConnection', (socket) => socket.end('known'));
  const port = await listening(t, server);
  assert.equal(await text(await secure(t, port, 'shop.test', { ca: shop.cert, ...blog })), 'known');
  const refused = once(server, 'tlsClientError');
  const stranger = await secure(t, port, 'shop.test', { ca: shop.cert });
  stranger.on('error', () => undefined);
  await refused;
});

test('a session is resumed', async (t) => {
  const server = createServer(shop, (socket) => socket.end('here'));
  const port = await listening(t, server);
  const first = await secure(t, port, 'shop.test');
  const [session] = await once(first, 'session');
  first.resume();
  const second = await secure(t, port, 'shop.test', { session });
  assert.equal(second.isSessionReused(), true);
  assert.equal(await text(second), 'here');
});

test('the end of one half of a connection reaches the other side after all sent bytes', async (t) => {
  const server = createServer({ ...shop, allowHalfOpen: true }, (socket) => {
    const pieces: Buffer[] = [];
    socket
      .on('data', (piece: Buffer) => pieces.push(piece))
      .on('end', () => socket.end(Buffer.concat(pieces)));
  });
  const socket = await secure(t, await listening(t, server), 'shop.test');
  const long = '語'.repeat(500_000);
  socket.end(long);
  assert.equal(await text(socket), long);
});

test('a server of HTTP/2 and HTTP/1 speaks the protocol that its client asks for', async (t) => {
  const server = http2.createSecureServer({ ...shop, allowHTTP1: true }, (request, response) => {
    response.end(request.httpVersion);
  });
  const port = await listening(t, server as unknown as ReturnType<typeof createServer>);
  const asked = get({ port, host: '127.0.0.1', servername: 'shop.test', ca: shop.cert, agent: false });
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  assert.equal(await text(answer), '1.1');
  const client = connectHttp2(t, port);
  assert.equal(await text(client.request()), '2.0');
});

test('an HTTP/2 session that closes answers its requests and accepts no more', async (t) => {
  const { server, client } = await http2Pair(t);
  const asked = client.request({ ':path': '/asked' });
  const [stream] = (await once(server, 'stream')) as [http2.ServerHttp2Stream];
  const goaway = once(client, 'goaway');
  const closed = once(client, 'close');
  stream.session?.close();
  await goaway;
  assert.equal(client.closed, true);
  stream.respond();
  stream.end('answered');
  assert.equal(await text(asked), 'answered');
  await closed;
});

test('an HTTP/2 stream that is reset ends alone', async (t) => {
  const { server, client } = await http2Pair(t);
  const one = client.request({ ':path': '/one' });
  const [oneAtServer] = (await once(server, 'stream')) as [http2.ServerHttp2Stream];
  const other = client.request({ ':path': '/other' });
  const [otherAtServer] = (await once(server, 'stream')) as [http2.ServerHttp2Stream];
  oneAtServer.on('error', () => undefined);
  const closed = once(oneAtServer, 'close');
  one.close(http2.constants.NGHTTP2_CANCEL);
  await closed;
  otherAtServer.respond();
  otherAtServer.end('other');
  assert.equal(await text(other), 'other');
});

/** Connects, and returns the connection after the handshake; rejects if the handshake fails. */
async function secure(t: TestContext, port: number, servername: string, options: ConnectionOptions = {}) {
  const socket = connect({ port, host: '127.0.0.1', servername, ca: shop.cert, ...options });
  t.after(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

async function http2Pair(t: TestContext) {
  const server = http2.createSecureServer(shop);
  const port = await listening(t, server as unknown as ReturnType<typeof createServer>);
  return { server, client: connectHttp2(t, port) };
}

function connectHttp2(t: TestContext, port: number) {
  const client = http2.connect(`https://127.0.0.1:${port}`, { servername: 'shop.test', ca: shop.cert });
  t.after(() => client.destroy());
  return client;
}
