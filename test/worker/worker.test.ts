import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { type AddressInfo, connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FromWorker } from '../../src/protocol/worker.ts';
import { Handoff } from '../../src/runner/handoff.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { workerBoot } from '../support/worker-boot.ts';

const path = fileURLToPath(new URL('../../src/worker/worker.cjs', import.meta.url));
const { Worker } = createRequire(import.meta.url)(path) as typeof import('../../src/worker/worker.cjs');

test('a process that listens on other ports only confirms each retirement', async (t) => {
  const said: string[] = [];
  const worker = await attachedWorker(t, ({ type }) => void said.push(type));
  for (let attempt = 0; attempt < 2; attempt += 1) {
    worker.receive({ type: 'open', wait: false });
    worker.receive({ type: 'retire', last: false });
    assert.deepEqual(said.splice(0), ['opened', 'retired', 'drained']);
  }
});

test('a silent connection to the private port closes if the app closes its server', async (t) => {
  const ready = Promise.withResolvers<void>();
  const worker = await attachedWorker(t, ({ type }) => type === 'ready' && ready.resolve());
  const server = createServer((_, response) => {
    server.close();
    response.end();
  });
  worker.listen({ ...{ server, port: 9001, backlog: 511, rank: 0, address: '' }, bind: () => -1 });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  await ready.promise;
  // After `ready`, the worker prepares for its switch.
  await new Promise(setImmediate);
  const client = async (text: string) => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    socket.write(text);
    return { closed: once(socket.resume(), 'close') };
  };
  // The server gets the first connection, and this worker the others.
  await client('');
  const silent = await client('');
  await client('GET / HTTP/1.1\r\nhost: shop\r\n\r\n');
  await silent.closed;
});

/** Creates a worker in this process that is connected to a runner, which only hears. */
async function attachedWorker(t: TestContext, post: (message: FromWorker) => void) {
  const directory = await temporaryDirectory(t);
  const pair = await Handoff.create(directory, () => undefined);
  t.after(() => pair.close());
  const file = `${directory}/none`;
  const place = { key: 'shop', port: 9001, generationFile: file, orphanSocket: file, drainTimeout: 1000 };
  const worker = new Worker({ ...workerBoot(place), stopSignal: 'SIGTERM' });
  const { fd: take, constructor: Pipe } = handleOf(pair.take);
  worker.attach({
    ...{ post, Pipe, sockets: [], handoffId: '', commandPid: 1 },
    ends: { take, give: handleOf(pair.give).fd },
  });
  return worker;
}

function handleOf(socket: unknown): { fd: number } {
  return (socket as { _handle: { fd: number } })._handle;
}
