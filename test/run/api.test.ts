import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { statOf } from '../../src/system/process/processes.ts';
import { answering } from '../support/apps.ts';
import { sluiceRun, untilNoneRuns } from '../support/run.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
await sluice.deploy('shop', answering('one'));
const { runner } = await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status');

type Message = Record<string, { id?: string; status?: number; code?: string }>;

/** WebSocket of a client that reports as taken only what the test says. */
class Client {
  readonly socket: WebSocket;
  readonly messages: Message[] = [];
  stdout = '';
  bytes = 0;
  readonly closed: Promise<unknown>;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    this.closed = once(socket, 'close');
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) this.messages.push(JSON.parse(data.toString()) as Message);
      else {
        this.bytes += data.length - 1;
        if (data[0] === 1 && this.stdout.length < 1000) this.stdout += data.subarray(1).toString();
      }
    });
  }

  static async open(first?: unknown, token = sluice.token): Promise<Client> {
    const url = `${sluice.url.replace('http', 'ws')}/v1/apps/shop/run`;
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } });
    const client = new Client(socket);
    await once(socket, 'open');
    if (first !== undefined) client.send(first);
    return client;
  }

  send(message: unknown): void {
    this.socket.send(Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  /** Waits for a message with a field. */
  message(field: string): Promise<NonNullable<Message[string]>> {
    return waitFor(() => this.messages.find((each) => field in each)?.[field], {
      what: `a message with ${field}`,
    });
  }
}

/** Returns the resident memory of a process, in bytes. */
function memoryOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

test('a client that takes no output lets the command wait, and no memory grows', async () => {
  const client = await Client.open({ run: { command: 'echo $$; exec yes' } });
  await waitFor(() => client.bytes >= 256 * 1024, { what: 'a full window' });
  const pid = Number.parseInt(client.stdout, 10);
  const used = () => statOf(pid)?.slice(11, 13).join(' ');
  let last: string | undefined;
  await waitFor(
    () => {
      const now = used();
      const isSame = now === last;
      last = now;
      return isSame;
    },
    { what: '`yes` waiting', interval: 300 },
  );
  const before = [memoryOf(sluice.pid), memoryOf(runner.pid)];
  assert.ok(client.bytes < 1024 ** 2, `${client.bytes} bytes without a reply`);
  const read = client.bytes;
  // Input, signals and pings pass meanwhile.
  client.socket.ping();
  await once(client.socket, 'pong');
  client.send({ taken: read });
  await waitFor(() => client.bytes > read, { what: 'further output' });
  const after = [memoryOf(sluice.pid), memoryOf(runner.pid)];
  for (const [at, bytes] of after.entries()) assert.ok(bytes - (before[at] ?? 0) < 32 * 1024 ** 2);
  client.send({ signal: 'SIGTERM' });
  const taking = setInterval(() => {
    if (client.bytes > read) client.send({ taken: 1 });
  }, 10);
  client.socket.close();
  await client.closed;
  clearInterval(taking);
  await untilNoneRuns(sluice);
});

test('sluice with a slow reader loses no output of a command that has ended', async (t) => {
  const run = sluiceRun(t, sluice, 'head -c 3000000 /dev/zero | tr "\\0" x');
  run.child.stdout?.pause();
  run.end();
  await waitFor(async () => (await sluice.status('shop')).oneOffs.length === 1);
  run.child.stdout?.resume();
  assert.equal(await run.ended, 0);
  assert.equal(run.stdout.length, 3_000_000);
});

test('input waits for a command that does not read, and more than the window is refused', async () => {
  const client = await Client.open({ run: { command: 'exec sleep 1000' } });
  await client.message('started');
  for (let sent = 0; sent < 1024 ** 2; sent += 65_536) client.send(Buffer.alloc(65_536));
  assert.equal((await client.message('error')).code, 'bad_request');
  await client.closed;
  await untilNoneRuns(sluice);
});

test('invalid messages are refused, and end the command', async () => {
  const long = 'x'.repeat(100_000);
  for (const first of [
    'text',
    { run: {} },
    { run: { command: [] } },
    { run: { command: '' } },
    { run: { command: 'x\0y' } },
    { run: { command: long } },
    { run: { command: 'x', console: 'node' } },
    { run: { command: 'x', env: {} } },
    { run: { command: 'x', terminal: { rows: 0, columns: 80, type: 'xterm' } } },
    { run: { command: 'x', terminal: { rows: 24, columns: 80, type: 'x\ny' } } },
    { end: true },
    Buffer.from('x'),
  ]) {
    const client = await Client.open(first);
    assert.equal((await client.message('error')).code, 'bad_request', JSON.stringify(first));
    await client.closed;
  }
  for (const later of [
    'text',
    { signal: 'SIGSTOP' },
    { taken: 1000 },
    { taken: -1 },
    { run: { command: 'x' } },
  ]) {
    const client = await Client.open({ run: { command: 'exec sleep 1000' } });
    await client.message('started');
    client.send(later);
    assert.equal((await client.message('error')).code, 'bad_request', JSON.stringify(later));
    await client.closed;
  }
  const huge = await Client.open({ run: { command: 'exec sleep 1000' } });
  await huge.message('started');
  huge.send(Buffer.alloc(300_000));
  await huge.closed;
  await untilNoneRuns(sluice);
});

test('a request for another protocol is routed and checked as all requests', async () => {
  const upgrade = (path: string, headers: Record<string, string> = {}) =>
    new Promise<number>((resolve, reject) => {
      const socket = new WebSocket(sluice.url.replace('http', 'ws') + path, { headers });
      socket.once('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
      socket.once('open', () => reject(new Error(`${path} was accepted`)));
      socket.once('error', reject);
    });
  const authorization = `Bearer ${sluice.token}`;
  assert.equal(await upgrade('/v1/apps/shop/run'), 401);
  assert.equal(await upgrade('/v1/apps/shop/run?command=x', { authorization }), 400);
  assert.equal(await upgrade('/v1/apps/unknown/run', { authorization }), 404);
  assert.equal(
    await upgrade('/v1/apps/shop/logs', { authorization, 'sec-websocket-version': '13' }).catch(() => 0),
    200,
  );
  assert.equal(await upgrade('/nowhere', { authorization }), 404);
  const plain = await sluice.request('/v1/apps/shop/run');
  assert.equal(plain.status, 400);
  assert.match(await plain.text(), /needs a WebSocket/);
});

test('no malformed request for another protocol, and no disconnect, ends the server or leaves a connection', async () => {
  const { hostname, port } = new URL(sluice.url);
  const asks = `Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer ${sluice.token}\r\n`;
  const valid = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
  const target = '/v1/apps/shop/run';
  const requests: [text: string, answer: RegExp][] = [
    [`GET ${target} HTTP/1.1\r\n${asks}\r\n`, /^HTTP\/1.1 400/],
    [
      `GET ${target} HTTP/1.1\r\n${asks}Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n`,
      /^HTTP\/1.1 4\d\d/,
    ],
    [`GET //[ HTTP/1.1\r\n${asks}${valid}\r\n`, /^HTTP\/1.1 404/],
    [`GET http://[ HTTP/1.1\r\n${asks}${valid}\r\n`, /^HTTP\/1.1 400/],
    [`POST ${target} HTTP/1.1\r\n${asks}${valid}Content-Length: 5\r\n\r\nhello`, /^HTTP\/1.1 405/],
    [
      `GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET ${target} HTTP/1.1\r\n${asks}${valid}\r\n`,
      /^(?:HTTP\/1.1 200|$)/,
    ],
    [`GET ${target} HTTP/1.1\r\n${asks}${valid}\r\n${'\xff'.repeat(100)}`, /^HTTP\/1.1 101/],
    [`GET ${target} HTTP/1.1\r\n${asks}${valid}\r\n\x81\x05hello`, /^HTTP\/1.1 101/],
  ];
  for (const [request, answer] of requests) {
    for (const isPatient of [true, false]) {
      const socket = connect(Number(port), hostname);
      let got = '';
      socket.setEncoding('latin1').on('data', (text: string) => {
        got += text;
      });
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      const closed = once(socket, 'close');
      socket.write(request, 'latin1', () => {
        if (!isPatient) socket.destroy();
      });
      await closed;
      if (isPatient) assert.match(got, answer, request);
    }
  }
  assert.equal((await sluice.request('/healthz')).status, 200);
  await untilNoneRuns(sluice);
});

test('the end of the server ends the session with a reason', async () => {
  const client = await Client.open({ run: { command: 'exec sleep 1000' } });
  await client.message('started');
  await sluice.leave();
  assert.equal((await client.message('error')).code, 'stopping');
  await client.closed;
  await sluice.up();
});
