import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { BoundSocket, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { carry, loads } from './support/carry.ts';
import { connected, listening } from './support/servers.ts';

const programs = join(import.meta.dirname, '../fixtures/platform');

for (const scheduling of ['distributed', 'shared']) {
  test(`node:cluster serves on one port, ${scheduling}, and replaces a worker that ends`, async (t) => {
    const { port, events } = await startCluster(t, scheduling);
    await events('listening', 2);
    await Promise.all(Array.from({ length: 20 }, () => ask(port)));
    await assert.rejects(ask(port, '/end'), { code: 'ECONNRESET' });
    await events('listening', 3);
    await Promise.all(Array.from({ length: 20 }, () => ask(port)));
  });

  test(`a worker of node:cluster that leaves, ${scheduling}, answers its requests first`, async (t) => {
    const { port, events, child } = await startCluster(t, scheduling);
    await events('listening', 2);
    const asked = Promise.all(Array.from({ length: 20 }, () => ask(port)));
    await events('asked', 20);
    child.send('leave');
    await asked;
    await events('left', 1);
    await events('listening', 3);
    assert.match(await ask(port), /^\d+$/);
  });
}

for (const serialization of ['json', 'advanced'] as const) {
  test(`messages of all sizes pass between processes in order, with ${serialization} serialization`, async (t) => {
    const child = await startChild(t, serialization);
    const sent = [1, 1000, 49_000, 64_000, 70_000, 5_000_000, 3].map((length) => '語'.repeat(length));
    const received: unknown[] = [];
    child.on('message', (message) => received.push(message));
    for (const message of sent) child.send(message);
    while (received.length < sent.length) await once(child, 'message');
    assert.deepEqual(received, sent);
  });
}

test('a process takes over a listening server and a connection', async (t) => {
  const child = await startChild(t);
  const server = createServer({ pauseOnConnect: true });
  const port = await listening(t, server);
  const accepted = once(server, 'connection');
  const client = await connected(port);
  const [connection] = (await accepted) as [Socket];
  child.send('connection', connection);
  assert.equal(await text(client), 'child');
  child.send('server', server);
  assert.deepEqual(await next(child), ['serving', undefined]);
  server.close();
  assert.equal(await ask(port), 'child');
});

test('a process notices that its parent has disconnected, and its last output arrives whole', async (t) => {
  const child = await startChild(t);
  const printed = text(child.stdout as NonNullable<typeof child.stdout>);
  child.disconnect();
  assert.equal((await printed).length, 300_000);
});

for (const load of loads) {
  test(`pipes to and from a process carry ${load.what} whole where their reader starts late`, async (t) => {
    const child = spawn(process.execPath, ['-e', 'process.stdin.pipe(process.stdout)']);
    t.after(() => child.kill('SIGKILL'));
    await carry(child.stdin, child.stdout, load);
  });
}

test('a bound socket reserves its port, connections reach a process that listens on a copy, and two sockets may share a port', async (t) => {
  const bound = new BoundSocket({ host: '127.0.0.1', port: 0, reusePort: true });
  t.after(() => bound.close());
  const { port } = bound.address() as { port: number };
  const server = createServer((socket) => socket.end('here'));
  t.after(() => server.close());
  await once(server.listen({ fd: bound.fd() }), 'listening');
  assert.equal(await text(await connected(port)), 'here');
  assert.throws(() => new BoundSocket({ host: '127.0.0.1', port }), { code: 'EADDRINUSE' });
  new BoundSocket({ host: '127.0.0.1', port, reusePort: true }).close();
});

test('a signal reaches its handler, and an unhandled error ends a process with its stack', async () => {
  const waiting = spawn(process.execPath, [
    '-e',
    `process.on('SIGTERM', () => { console.log('handled'); process.exit(3); });
     setInterval(() => {}, 1000); console.log('ready')`,
  ]);
  await once(waiting.stdout, 'data');
  const exited = once(waiting, 'exit');
  waiting.kill('SIGTERM');
  assert.deepEqual(await exited, [3, null]);
  const failing = spawn(process.execPath, ['-e', "Promise.reject(new TypeError('nobody catches me'))"]);
  const [stack, [code]] = await Promise.all([text(failing.stderr), once(failing, 'exit')]);
  assert.equal(code, 1);
  assert.match(stack, /TypeError: nobody catches me/);
});

test('TypeScript runs without a build, after preloaded modules', async () => {
  const child = spawn(
    process.execPath,
    [
      ...['--import', 'data:text/javascript,globalThis.before = "loaded"', '--input-type=module-typescript'],
      ...['-e', 'interface A { b: string } const a: A = { b: (globalThis as any).before }; console.log(a.b)'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  assert.equal(await text(child.stdout), 'loaded\n');
});

async function startCluster(t: TestContext, scheduling: string) {
  const child = fork(join(programs, 'cluster.mjs'), [scheduling]);
  t.after(async () => {
    const exited = once(child, 'exit');
    child.send('end');
    await exited;
  });
  const heard: { event: string; port?: number }[] = [];
  child.on('message', (message) => heard.push(message as (typeof heard)[number]));
  /** Waits until an event has happened `count` times since the start. */
  const events = async (event: string, count: number) => {
    while (heard.filter((one) => one.event === event).length < count) await once(child, 'message');
  };
  await events('listening', 1);
  return { child, port: heard[0]?.port as number, events };
}

async function startChild(t: TestContext, serialization: 'json' | 'advanced' = 'json') {
  const child = fork(join(programs, 'child.mjs'), { serialization, silent: true });
  t.after(() => child.kill('SIGKILL'));
  await next(child);
  return child;
}

const next = (child: ChildProcess) => once(child, 'message');

async function ask(port: number, path = '/'): Promise<string> {
  const [answer] = (await once(get({ port, host: '127.0.0.1', path, agent: false }), 'response')) as [
    IncomingMessage,
  ];
  return text(answer);
}
