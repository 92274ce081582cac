import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { Agent, get as getSecure } from 'node:https';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { isAppNodeFrom, TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

for (const script of ['esm.mjs', 'express.cjs', 'koa.mjs', 'fastify.mjs']) {
  const skip = script === 'fastify.mjs' && !isAppNodeFrom(20, 0) && 'Fastify 5 needs Node.js 20';
  test(`an app as ${script} is switched without its knowing`, { skip }, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec(script));
    assert.equal((await fetchText(runner.port)).body, '1');
    await runner.release(runner.spec(script));
    assert.equal((await fetchText(runner.port)).body, '2');
  });
}

async function certificate(t: TestContext): Promise<{ TLS_KEY: string; TLS_CERT: string }> {
  const directory = await temporaryDirectory(t);
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const request = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost`;
  execFileSync('openssl', [...request.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { TLS_KEY: key, TLS_CERT: cert };
}

test('an idle connection of TLS that an app feeds into its http server does not hurt the others at a switch', async (t) => {
  const runner = await TestRunner.start(t);
  const port = await freePort();
  const environment = { ...(await certificate(t)), TLS_PORT: String(port) };
  await runner.release(runner.spec('https.cjs', { workers: 1, drainTimeout: '10s' }, environment));
  const { generation } = await runner.boot(runner.spec('https.cjs', { workers: 1 }, environment));
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false }).setEncoding('utf8');
  t.after(() => socket.destroy());
  socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
  await once(socket, 'data');
  const underWay = fetchText(runner.port, '/slow');
  assert.equal((await fetchText(runner.port)).body, '1');
  await runner.client.call('switch', { key: 'shop', generation });
  assert.equal((await underWay).body, '1');
  assert.equal((await fetchText(runner.port)).body, '2');
});

test('an app that speaks TLS itself finishes what it has, and closes with the next response', async (t) => {
  const runner = await TestRunner.start(t);
  // A busy machine may take longer to boot the next one than the 5 s after which Node closes an idle connection.
  const environment = { ...(await certificate(t)), KEEP_ALIVE_TIMEOUT: '60000' };
  const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
  t.after(() => agent.destroy());
  const ask = () =>
    new Promise<{ body: string; connection: string | undefined }>((resolve, reject) => {
      getSecure({ host: '127.0.0.1', port: runner.port, agent }, (response) => {
        text(response).then((body) => resolve({ body, connection: response.headers.connection }), reject);
      }).on('error', reject);
    });
  await runner.release(runner.spec('https.cjs', { drainTimeout: '30s' }, environment));
  assert.deepEqual(await ask(), { body: '1', connection: 'keep-alive' });
  await runner.release(runner.spec('https.cjs', {}, environment));
  assert.deepEqual(await ask(), { body: '1', connection: 'close' });
  assert.deepEqual(await ask(), { body: '2', connection: 'keep-alive' });
});

test('an HTTP/2 session is told to go, and finishes its streams first', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('http2.cjs', { drainTimeout: '30s' }));
  const { generation } = await runner.boot(runner.spec('http2.cjs'));
  const session = connectHttp2(`http://127.0.0.1:${runner.port}`);
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/slow' });
  const body = text(stream);
  await once(stream, 'response');
  const goaway = new Promise((resolve) => session.once('goaway', resolve));
  await runner.client.call('switch', { key: 'shop', generation });
  await goaway;
  assert.equal(await body, '1');
});

test('a request that a client of HTTP/2 sends before it knows of the end is answered', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('http2.cjs', { workers: 1, drainTimeout: '60s' }));
  const { generation } = await runner.boot(runner.spec('http2.cjs', { workers: 1 }));
  const way = await slowWay(t, runner.port);
  const session = connectHttp2(`http://127.0.0.1:${way.port}`);
  t.after(() => session.destroy());
  const ask = () => text(session.request({ ':path': '/' }));
  assert.equal(await ask(), '1');
  const [goaway, closed] = [once(session, 'goaway'), once(session, 'close')];
  way.holdFrom(goawayHeader);
  await runner.client.call('switch', { key: 'shop', generation });
  await waitFor(() => way.heldBytes > 0, { what: 'a GOAWAY' });
  // Sent although the server has begun to end the session.
  const answer = ask();
  const before = way.heldBytes;
  await waitFor(() => way.heldBytes > before, { what: 'the answer' });
  way.release();
  await goaway;
  assert.equal(await answer, '1');
  await closed;
});

/** The beginning of a frame GOAWAY: length, type and flags. */
const goawayHeader = Buffer.from('0000080700', 'hex');

/** A relay before the port that can hold back what the server says. */
async function slowWay(
  t: TestContext,
  port: number,
  connected: (client: Socket, upstream: Socket) => void = () => undefined,
) {
  let start: Buffer | undefined;
  let isHeld = false;
  let held: Buffer[] = [];
  const sockets: Socket[] = [];
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    sockets.push(client, upstream);
    connected(client, upstream);
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      isHeld ||= start !== undefined && chunk.includes(start);
      if (isHeld) held.push(chunk);
      else client.write(chunk);
    });
    upstream.on('close', () => client.end());
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    /** Holds all from the first chunk on that has these bytes. */
    holdFrom: (bytes: Buffer) => {
      start = bytes;
    },
    get heldBytes() {
      return Buffer.concat(held).length;
    },
    release: () => {
      start = undefined;
      isHeld = false;
      for (const chunk of held) sockets[0]?.write(chunk);
      held = [];
    },
  };
}

test('each request of HTTP/2 that is sent is answered over switches under load', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('http2.cjs', { drainTimeout: '30s' }));
  const way = await countingWay(t, runner.port);
  const clients = Array.from({ length: 4 }, () => new Http2Client(way.port));
  const answered = () => clients.reduce((sum, client) => sum + client.answered, 0);
  t.after(() => Promise.all(clients.map((client) => client.stop())));
  for (let switches = 0; switches < 6; switches += 1) {
    const before = answered();
    await waitFor(() => answered() > before + 100, { what: 'answers' });
    await runner.release(runner.spec('http2.cjs', { drainTimeout: '30s' }));
  }
  await Promise.all(clients.map((client) => client.stop()));
  // Node's client fails requests that it has not sent yet when it reads a GOAWAY. No server can do anything about that.
  t.diagnostic(`${answered()} answered, ${clients.flatMap(({ errors }) => errors).length} failed unsent`);
  assert.equal(way.resets(), 0);
  assert.equal(way.requests(), answered());
});

/** A relay before the port that counts frames. */
async function countingWay(t: TestContext, port: number) {
  const [fromClients, fromServer] = [new Map<number, number>(), new Map<number, number>()];
  const relay = await slowWay(t, port, (client, upstream) => {
    countFrames(client, fromClients, preface.length);
    countFrames(upstream, fromServer, 0);
  });
  return {
    port: relay.port,
    requests: () => fromClients.get(1) ?? 0,
    resets: () => fromServer.get(3) ?? 0,
  };
}

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** @param skip bytes before the first frame */
function countFrames(socket: Socket, counts: Map<number, number>, skip: number): void {
  let rest: Buffer = Buffer.alloc(0);
  let left = skip;
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    if (left > 0) {
      const skipped = Math.min(left, rest.length);
      left -= skipped;
      rest = rest.subarray(skipped);
    }
    while (left === 0 && rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const type = rest[3] ?? 0;
      counts.set(type, (counts.get(type) ?? 0) + 1);
      rest = rest.subarray(9 + rest.readUIntBE(0, 3));
    }
  });
}

/** Sends a request every 5 ms, and opens a new session when the server announces the end of the one before. */
class Http2Client {
  answered = 0;
  readonly errors: string[] = [];
  readonly #port: number;
  readonly #underWay = new Set<Promise<void>>();
  readonly #timer = setInterval(() => this.#ask(), 5);
  #session: ClientHttp2Session | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
    this.#session?.destroy();
  }

  #ask(): void {
    this.#session ??= this.#open();
    const request = this.#session.request({ ':path': '/' });
    const asked = text(request).then(
      (body) => {
        if (body === '') this.errors.push(`no answer: reset with ${request.rstCode}`);
        else this.answered += 1;
      },
      (error: Error) => void this.errors.push(error.message),
    );
    this.#underWay.add(asked);
    void asked.then(() => this.#underWay.delete(asked));
  }

  #open(): ClientHttp2Session {
    const session = connectHttp2(`http://127.0.0.1:${this.#port}`);
    const forget = () => {
      if (this.#session === session) this.#session = undefined;
    };
    session.on('goaway', forget).on('close', forget);
    session.on('error', (error) => this.errors.push(`session: ${error.message}`));
    return session;
  }
}

test('a stop waits for the streams of HTTP/2', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('http2.cjs', { drainTimeout: '30s' }));
  const session = connectHttp2(`http://127.0.0.1:${runner.port}`);
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/slow' });
  const body = text(stream);
  await once(stream, 'response');
  await runner.client.call('stop', { key: 'shop' });
  assert.equal(await body, '1');
});

test('a plain TCP server keeps its connections and gets no new ones', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('net.cjs', { health: { path: '/' }, drainTimeout: '30s' }));
  const before = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  t.after(() => before.destroy());
  const ask = (socket: typeof before) =>
    new Promise((resolve) => {
      socket.once('data', resolve);
      socket.write('?\n');
    });
  assert.equal(await ask(before), '1\n');
  await runner.release(runner.spec('net.cjs'));
  const after = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  t.after(() => after.destroy());
  assert.equal(await ask(after), '2\n');
  assert.equal(await ask(before), '1\n');
});
