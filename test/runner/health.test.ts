import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttp, type RequestListener } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { HealthSettings } from '../../src/config/app-settings.ts';
import { checkHealth } from '../../src/runner/generation/health.ts';

const settings: HealthSettings = {
  path: '/',
  headers: {},
  status: ['100-499'],
  interval: 10,
  timeout: 5000,
};
const impatient: HealthSettings = { ...settings, timeout: 300 };
const signal = new AbortController().signal;

async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function http(t: TestContext, answer: RequestListener): Promise<number> {
  return listen(t, createHttp(answer));
}

test('a worker is healthy if its answer has one of the statuses', async (t) => {
  const port = await http(t, (_request, response) => response.writeHead(302).end());
  const check = (status: string[]) =>
    checkHealth({ protocol: 'http', port }, { ...settings, status }, signal);
  assert.deepEqual(await check(['200', '300-399']), { protocol: 'http', fault: undefined });
  assert.deepEqual(await check(['200-299']), { protocol: 'http', fault: 'answered 302 to GET /' });
});

test('a worker is healthy if its answer contains the text, in the first megabyte', async (t) => {
  const port = await http(t, (_request, response) => {
    response.write('ready');
    // This answer never ends by itself.
    const timer = setInterval(() => response.write('x'.repeat(200_000)), 1);
    response.on('close', () => clearInterval(timer));
  });
  const check = (body: string) => checkHealth({ protocol: 'http', port }, { ...settings, body }, signal);
  assert.equal((await check('ready')).fault, undefined);
  assert.equal((await check('broken')).fault, 'answered GET / without the text "broken"');
});

test('a health check sends the path and the headers of the settings', async (t) => {
  const requests: string[] = [];
  const port = await http(t, ({ url, headers }, response) => {
    requests.push(`${url} ${headers['x-check']} ${headers['user-agent']}`);
    response.end();
  });
  const asked = { ...settings, path: '/health', headers: { 'x-check': 'yes' } };
  await checkHealth({ protocol: 'http', port }, asked, signal);
  assert.deepEqual(requests, ['/health yes sluice-health']);
});

test('a worker that does not answer in time, or not at all, is not healthy', async (t) => {
  const silent = await http(t, () => undefined);
  const { fault } = await checkHealth({ protocol: 'http', port: silent }, impatient, signal);
  assert.equal(fault, 'did not answer GET / within 300 ms');
  const closed = await checkHealth({ protocol: 'http', port: 1 }, settings, signal);
  assert.match(closed.fault ?? '', /^could not be asked for \/: .*ECONNREFUSED/);
});

test('a worker with HTTP/2 gets the same check', async (t) => {
  const server = createHttp2((_request, response) => void response.writeHead(500).end());
  const port = await listen(t, server as unknown as Server);
  const { fault } = await checkHealth({ protocol: 'http2', port }, settings, signal);
  assert.equal(fault, 'answered 500 to GET /');
});

test('a net server is healthy if it accepts a connection, and if its answers are good in case it speaks HTTP', async (t) => {
  const silent = await listen(
    t,
    createTcp((socket) => socket.on('error', () => undefined)),
  );
  assert.deepEqual(await checkHealth({ protocol: 'tcp', port: silent }, settings, signal), {
    protocol: 'tcp',
    fault: undefined,
  });
  const inner = createHttp((_request, response) => response.writeHead(500).end());
  const speaking = await listen(
    t,
    createTcp((socket) => inner.emit('connection', socket)),
  );
  assert.deepEqual(await checkHealth({ protocol: 'tcp', port: speaking }, settings, signal), {
    protocol: 'http',
    fault: 'answered 500 to GET /',
  });
});

test('a net server that begins to answer in HTTP must end its answer; another protocol is healthy', async (t) => {
  const check = async (answer: (socket: Socket) => void) => {
    const port = await listen(
      t,
      createTcp((socket) => answer(socket.on('error', () => undefined))),
    );
    return checkHealth({ protocol: 'tcp', port }, settings, signal);
  };
  const late = await check((socket) => {
    socket.write('HTTP/1.1 500 Internal Server Error\r\n');
    setTimeout(() => socket.end('\r\n'), 1200);
  });
  assert.deepEqual(late, { protocol: 'http', fault: 'answered 500 to GET /' });
  const broken = await check((socket) => socket.end('HTTP/1.1 200 OK\r\nno header\r\n\r\n'));
  assert.match(broken.fault ?? '', /^could not be asked for \/: Parse Error/);
  const other = await check((socket) => {
    // An HTTP client ignores empty lines before an answer.
    const timer = setInterval(() => socket.write('\r\n'), 100);
    socket.on('close', () => clearInterval(timer));
  });
  assert.deepEqual(other, { protocol: 'tcp', fault: undefined });
});

test('a net server must answer if the settings expect a certain answer', async (t) => {
  const port = await listen(
    t,
    createTcp((socket) => socket.on('error', () => undefined)),
  );
  const { fault } = await checkHealth({ protocol: 'tcp', port }, { ...impatient, path: '/health' }, signal);
  assert.equal(fault, 'did not answer GET /health within 300 ms');
});

test('an aborted check rejects with the reason of its signal', async (t) => {
  const port = await http(t, () => undefined);
  const aborted = new AbortController();
  const check = checkHealth({ protocol: 'http', port }, settings, aborted.signal);
  aborted.abort(new Error('the deploy was cancelled'));
  await assert.rejects(check, { message: 'the deploy was cancelled' });
});
