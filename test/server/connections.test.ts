import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { apiServerOptions } from '../../src/api/app.ts';
import { type ConnectionLimits, connectionLimits } from '../../src/server/connections.ts';
import { serveApi } from '../../src/server/serve.ts';
import { createLog } from '../../src/system/log/log.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const log = createLog(process.stderr.fd, 'server');
const quick = { next: 300, silence: 300 };
/** For clients that must not be disconnected: these tests may run on a busy machine. */
const patient = { next: 3000, silence: 500 };

/** Returns a request with the first `sent` bytes of a body of `length` bytes. */
const ask = (path: string, length = 0, sent = length) =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n${'b'.repeat(sent)}`;

/** Beginning of the head of a request. */
const head = 'GET /ok HTTP/1.1\r\nHost: x\r\n';

/** Number of bytes that does not fit into all buffers between a server and a client that does not read. */
const large = 64 * 1024 ** 2;

/** Handlers by path; `/wait` is never answered. */
const routes: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
  '/ok': (_request, response) => response.end('ok'),
  '/wait': () => undefined,
  '/large': (_request, response) => response.end(Buffer.alloc(large)),
  '/endless': (_request, response) => response.write(Buffer.alloc(large)),
  '/silent': (_request, response) => response.write('begun'),
  '/late': (_request, response) => setTimeout(() => response.end('late'), 1000),
  '/read': (request, response) => request.on('end', () => response.end('read')).resume(),
};

/** Plan of a client: bytes to send, bytes to send again and again, and whether it reads. */
interface Plan {
  sends: string;
  trickles?: string;
  reads?: boolean;
  /** ends its side after `sends` */
  ends?: boolean;
  /** limits of the server, if they are not `quick` */
  limits?: ConnectionLimits;
}

/** Clients that must be disconnected, by a description. */
const useless: Record<string, Plan> = {
  'sends nothing': { sends: '' },
  'trickles a head': { sends: head, trickles: 'X-A: b\r\n' },
  'trickles a head after an answer': { sends: `${ask('/ok')}${head}`, trickles: 'X-A: b\r\n' },
  'trickles a head while an answer waits': { sends: `${ask('/wait')}${head}`, trickles: 'X-A: b\r\n' },
  'sends no other request': { sends: ask('/ok') },
  'trickles blank lines after an answer': { sends: ask('/ok'), trickles: '\r\n' },
  'trickles blank lines after a 417': {
    sends: ask('/ok').replace('Host: x', 'Host: x\r\nExpect: more'),
    trickles: '\r\n',
  },
  'trickles the body of an answered request': { sends: ask('/ok', large, 10), trickles: 'b' },
  'leaves out the body of an answered request': { sends: ask('/ok', large, 10) },
  'trickles the trailers of an answered request': {
    sends: 'POST /ok HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n0\r\nX-A: ',
    trickles: 'b',
  },
  'trickles the body of a request to upgrade': {
    sends: ask('/ok', large, 10).replace('Host: x', 'Host: x\r\nConnection: upgrade\r\nUpgrade: other'),
    trickles: 'b',
  },
  'sends a body that nobody reads': { sends: ask('/wait', large, 200_000) },
  'sends a body that nobody reads, and ends': { sends: ask('/wait', large, 200_000), ends: true },
  'sends a request with a body behind one that waits': {
    sends: ask('/wait') + ask('/wait', large, 200_000),
    limits: { next: 300, silence: 100_000 },
  },
  'sends many requests behind one that waits': { sends: ask('/wait') + ask('/ok').repeat(2000) },
  'ends while its answer waits': { sends: ask('/wait'), ends: true },
  'ends in the middle of a body': { sends: ask('/wait', large, 10), ends: true },
  'sends no HTTP while its answer waits': { sends: `${ask('/wait')}\0\0` },
  'sends no HTTP in the middle of its answer': { sends: `${ask('/silent')}\0\0` },
  'does not read an answer that is complete': { sends: ask('/large'), reads: false },
  'does not read an answer that goes on': { sends: ask('/endless'), reads: false },
  'does not read an answer, and ends': { sends: ask('/endless'), reads: false, ends: true },
  'sends a body and does not read the answer': { sends: ask('/endless', large, 200_000), reads: false },
};

for (const [name, plan] of Object.entries(useless)) {
  test(`a client that ${name} is disconnected, over TCP and a unix socket`, async (t) => {
    const { clients, connections } = await served(t, plan.limits ?? quick);
    for (const client of clients) carryOut(t, client, plan);
    await waitFor(() => isClosed(connections), { what: 'the end of the connections', interval: 10 });
  });
}

test('a client is not disconnected while the server works on its request', async (t) => {
  const { clients } = await served(t, patient);
  await Promise.all(
    clients.map(async (client) => {
      client.write(ask('/late'));
      assert.match(await until(client, /late/), /200 OK/);
    }),
  );
});

test('an answer may pause, and the server notices if the client disconnects', async (t) => {
  const { clients, connections } = await served(t, patient);
  await Promise.all(
    clients.map(async (client) => {
      client.write(ask('/silent', 1000));
      await until(client, /begun/);
    }),
  );
  await sleep(3 * patient.silence);
  assert.deepEqual(
    connections.map(({ destroyed }) => destroyed),
    [false, false],
  );
  for (const client of clients) client.destroy();
  await waitFor(() => isClosed(connections), { what: 'the end of the connections', interval: 10 });
});

test('requests of a connection are handled one after the other, until their client disconnects', async (t) => {
  const { clients, connections, handled } = await served(t, patient);
  await Promise.all(
    clients.map(async (client) => {
      client.write(ask('/late') + ask('/silent') + ask('/ok'));
      await until(client, /late[\s\S]*begun/);
      client.destroy();
    }),
  );
  await waitFor(() => isClosed(connections), { what: 'the end of the connections', interval: 10 });
  assert.deepEqual(handled.sort(), ['/late', '/late', '/silent', '/silent']);
});

test('TCP keep-alive is on, so that the kernel detects clients whose machine is gone', async (t) => {
  const { clients } = await served(t, patient);
  clients[0]?.write(ask('/silent'));
  await until(clients[0] as Socket, /begun/);
  const server = `sport = :${clients[0]?.remotePort} and dport = :${clients[0]?.localPort}`;
  const { stdout } = await promisify(execFile)('ss', ['-tnoH', server]);
  assert.match(stdout, /timer:\(keepalive,/);
});

test('a kept connection serves requests for longer than the limit of a pause between two requests (thorough)', async (t) => {
  const { clients } = await served(t, patient);
  await Promise.all(
    clients.map(async (client) => {
      const end = performance.now() + 1.5 * patient.next;
      while (performance.now() < end) {
        client.write(ask('/ok'));
        await until(client, /\r\n\r\nok/);
        // Sends two requests at once, so that the second waits.
        client.write(ask('/late') + ask('/ok'));
        await until(client, /late[\s\S]*\r\n\r\nok/);
      }
    }),
  );
});

test('a slow upload and a slow reader are not cut as long as there is progress (thorough)', async (t) => {
  const { clients } = await served(t, { next: 10_000, silence: 2000 });
  const [uploader, reader] = clients as [Socket, Socket];
  const uploading = async () => {
    uploader.write(ask('/read', 100, 0));
    for (let sent = 0; sent < 100; sent += 1) {
      uploader.write('b');
      await sleep(50);
    }
    await until(uploader, /read/);
  };
  const reading = async () => {
    reader.write(ask('/large'));
    let read = 0;
    reader.pause().on('readable', () => undefined);
    for (let step = 0; step < 100; step += 1) {
      read += reader.read()?.length ?? 0;
      await sleep(50);
    }
    for await (const chunk of reader) {
      read += chunk.length;
      if (read > large) break;
    }
  };
  await Promise.all([uploading(), reading()]);
});

test('the limits leave a kept connection time for its next request, and people time to read', () => {
  const { headersTimeout = 0, keepAliveTimeout = 5000 } = apiServerOptions;
  assert.ok(connectionLimits.next > keepAliveTimeout + 1000 + headersTimeout);
  assert.ok(connectionLimits.silence >= 10 * 60_000);
});

/** Starts a server on a TCP and a unix socket, and connects a client to each; `connections` are the server's side. */
async function served(t: TestContext, limits: ConnectionLimits) {
  const connections: Socket[] = [];
  const handled: (string | undefined)[] = [];
  const remember = (message: unknown) => void connections.push((message as { socket: Socket }).socket);
  subscribe('net.server.socket', remember);
  t.after(() => unsubscribe('net.server.socket', remember));
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    handled.push(request.url);
    routes[request.url ?? '']?.(request, response);
  };
  const path = join(await temporaryDirectory(t), 'api.sock');
  const options = { ...apiServerOptions, headersTimeout: limits.next, connectionsCheckingInterval: 50 };
  const api = await serveApi({ host: '127.0.0.1', port: 0 }, listener, [{ path, mode: 0o600, listener }], {
    ...{ log, options, limits },
  });
  const clients = [
    connect({ port: Number(new URL(api.url).port), host: '127.0.0.1', allowHalfOpen: true }),
    connect({ path, allowHalfOpen: true }),
  ];
  t.after(async () => {
    for (const client of clients) client.destroy();
    await api[Symbol.asyncDispose]();
  });
  for (const client of clients) client.on('error', () => undefined);
  await Promise.all(clients.map((client) => once(client, 'connect')));
  await waitFor(() => connections.length === clients.length, { what: 'accepted connections', interval: 10 });
  return { clients, connections, handled };
}

function isClosed(connections: Socket[]): boolean {
  return connections.every(({ destroyed }) => destroyed);
}

function carryOut(
  t: TestContext,
  client: Socket,
  { sends, trickles, reads = true, ends = false }: Plan,
): void {
  if (reads) client.resume();
  client.write(sends);
  if (ends) client.end();
  if (trickles === undefined) return;
  const timer = setInterval(() => client.write(trickles), 20);
  t.after(() => clearInterval(timer));
}

/** Returns the answer up to text that matches; fails if the connection closes before. */
function until(client: Socket, last: RegExp): Promise<string> {
  let answer = '';
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error(`The connection was closed after ${JSON.stringify(answer)}.`));
    const read = (chunk: Buffer) => {
      answer += chunk;
      if (!last.test(answer)) return;
      client.off('data', read).off('close', closed);
      resolve(answer);
    };
    client.on('data', read).on('close', closed);
  });
}
