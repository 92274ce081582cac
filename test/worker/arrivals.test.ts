import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createRequire } from 'node:module';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fetchText } from '../support/http.ts';
import { waitFor } from '../support/wait.ts';

const load = (file: string) =>
  createRequire(import.meta.url)(fileURLToPath(new URL(`../../src/worker/${file}`, import.meta.url)));
const { Arrivals } = load('arrivals.cjs') as typeof import('../../src/worker/arrivals.cjs');
const { adopt } = load('acceptor.cjs') as typeof import('../../src/worker/acceptor.cjs');

test('a connection with a request comes before idle ones that have arrived earlier, and loses no byte', async (t) => {
  const { clients, handles } = await connectClients(t, 20);
  const given: { handle: unknown; text: string | undefined }[] = [];
  const arrivals = new Arrivals((handle, received) => given.push({ handle, text: received?.toString() }));
  (clients.at(-1) as Socket).write('request');
  for (const handle of handles) arrivals.add(handle);
  await waitFor(() => given.length === handles.length, { what: 'all connections' });
  assert.deepEqual(given[0], { handle: handles.at(-1), text: 'request' });
  const rest = given.slice(1);
  assert.deepEqual(
    rest,
    handles.slice(0, -1).map((handle) => ({ handle, text: undefined })),
  );
});

test('a connection that its client closes while it waits reaches no server', async (t) => {
  const { clients, handles } = await connectClients(t, 2);
  const given: unknown[] = [];
  const arrivals = new Arrivals((handle) => given.push(handle));
  const [leaving, staying] = clients as [Socket, Socket];
  leaving.destroy();
  for (const handle of handles) arrivals.add(handle);
  staying.write('request');
  await waitFor(() => given.length === 1 && (handles[0]?.fd ?? 0) < 0, { what: 'both connections' });
  assert.deepEqual(given, [handles[1]]);
});

test('all connections that wait reach the server at once if the worker retires', async (t) => {
  const { handles } = await connectClients(t, 20);
  const given: unknown[] = [];
  const arrivals = new Arrivals((handle) => given.push(handle));
  for (const handle of handles) arrivals.add(handle);
  arrivals.flush();
  assert.deepEqual(given, handles);
});

test('an error of the app about one connection keeps no other one from the server', async (t) => {
  const { handles } = await connectClients(t, 20);
  const given: unknown[] = [];
  const thrown = t.mock.method(process, 'nextTick', () => undefined).mock;
  const arrivals = new Arrivals((handle) => {
    given.push(handle);
    if (given.length % 2 === 0) throw new Error('of a listener of the app');
  });
  for (const handle of handles.slice(0, 12)) arrivals.add(handle);
  await waitFor(() => given.length === 12, { what: 'the idle connections' });
  for (const handle of handles.slice(12)) arrivals.add(handle);
  arrivals.flush();
  assert.deepEqual(given, handles);
  // Each error is thrown afterwards, as an error of a listener.
  const own = thrown.calls.filter(({ arguments: [callback] }) => /throw error/.test(String(callback)));
  assert.equal(own.length, 10);
});

test('a server answers a request whose beginning was read before it got the connection', async (t) => {
  const { clients, handles } = await connectClients(t, 1);
  const server = createHttpServer((request, response) => {
    request.setEncoding('utf8').on('data', (text) => response.write(text));
    request.on('end', () => response.end());
  });
  const [client] = clients as [Socket];
  let text = '';
  client.setEncoding('latin1').on('data', (chunk) => {
    text += chunk;
  });
  client.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 12\r\n\r\nfirst ');
  const arrivals = new Arrivals((handle, received) => {
    adopt(server, handle, received);
    client.write('second');
  });
  for (const handle of handles) arrivals.add(handle);
  await waitFor(() => text.includes('first') && text.endsWith('0\r\n\r\n'), { what: 'the answer' });
  assert.match(text, /first [\s\S]*second/);
  text = '';
  client.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\n\r\nnext');
  await waitFor(() => text.includes('next') && text.endsWith('0\r\n\r\n'), { what: 'the next answer' });
});

test('from the second connection on, a listening handle gives its connections as a handoff does, until this ends', async (t) => {
  const server = createHttpServer((_request, response) => response.end('answered')).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  let native = 0;
  server.on('connection', () => {
    native += 1;
  });
  let arrived = 0;
  const arrivals = new Arrivals((handle, received) => {
    arrived += 1;
    native -= 1;
    adopt(server, handle, received);
  });
  const end = arrivals.takeFrom((server as unknown as { _handle: unknown })._handle);
  const { port } = server.address() as { port: number };
  for (const expected of [
    { native: 1, arrived: 0 },
    { native: 1, arrived: 1 },
    { native: 1, arrived: 2 },
  ]) {
    assert.equal((await fetchText(port)).body, 'answered');
    assert.deepEqual({ native, arrived }, expected);
  }
  end();
  assert.equal((await fetchText(port)).body, 'answered');
  assert.deepEqual({ native, arrived }, { native: 2, arrived: 2 });
});

test('connections that come together are reported once', async (t) => {
  const { handles } = await connectClients(t, 3);
  let reports = 0;
  const given: unknown[] = [];
  const arrivals = new Arrivals(
    (handle) => given.push(handle),
    () => {
      assert.equal(arrivals.size, handles.length);
      reports += 1;
    },
  );
  for (const handle of handles) arrivals.add(handle);
  await waitFor(() => given.length === handles.length, { what: 'all connections' });
  assert.equal(reports, 1);
});

interface Handle {
  fd: number;
  close(): void;
}

/** @returns clients, and the handles of their connections in the same order: no process has read from these */
async function connectClients(t: TestContext, count: number) {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const handles: Handle[] = [];
  const { _handle: listening } = server as unknown as { _handle: Record<string, unknown> };
  listening['onconnection'] = (_status: number, handle: Handle) => handles.push(handle);
  const { port } = server.address() as { port: number };
  const clients: Socket[] = [];
  t.after(() => {
    for (const client of clients) client.destroy();
    for (const handle of handles) handle.close();
    server.close();
  });
  for (let connected = 1; connected <= count; connected += 1) {
    clients.push(connect(port, '127.0.0.1').on('error', () => undefined));
    await waitFor(() => handles.length === connected, { what: 'a connection' });
  }
  return { clients, handles };
}
