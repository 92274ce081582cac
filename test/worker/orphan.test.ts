import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FromOrphan, FromWorker, ToOrphan } from '../../src/protocol/worker.ts';
import { Handoff } from '../../src/runner/handoff.ts';
import { sendHandles } from '../../src/runner/takeover/send-handle.ts';
import { ask } from '../support/clients.ts';
import { appNode, apps } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { workerBoot } from '../support/worker-boot.ts';

const bootstrap = fileURLToPath(new URL('../../src/worker/bootstrap.cjs', import.meta.url));
const skip = process.platform !== 'linux' && 'counts descriptors in /proc';

test('an orphan that gets one end of a handoff leaves its connections unread, and sends them when both ends arrive', {
  skip,
}, async (t) => {
  const { orphan, reports, handoff, create } = await setUp(t);
  const { send, next } = await reports();
  for (const missing of ['take', 'give', 'take'] as const) {
    const lacking = await create();
    await send({ type: 'handoff' }, missing === 'take' ? undefined : lacking.take);
    await send({ type: 'retire', handoff: lacking.id }, missing === 'give' ? undefined : lacking.give);
    assert.deepEqual(await next(), { type: 'retired', lacksHandoff: true });
    assert.equal(copiesOf(lacking, orphan), 0);
  }
  await send({ type: 'handoff' }, handoff.take);
  await send({ type: 'retire', handoff: handoff.id }, handoff.give);
  assert.deepEqual(await next(), { type: 'retired' });
  await waitFor(() => waitingIn(handoff) === 1, { what: 'the connection in the handoff' });
});

test('an orphan that gets the same handoff again closes its ends', { skip }, async (t) => {
  const { orphan, reports, handoff } = await setUp(t);
  const first = await reports();
  await first.send({ type: 'handoff' }, handoff.take);
  await first.send({ type: 'retire', handoff: handoff.id }, handoff.give);
  assert.deepEqual(await first.next(), { type: 'retired' });
  await waitFor(() => waitingIn(handoff) === 1, { what: 'the connection in the handoff' });
  const copies = copiesOf(handoff, orphan);
  first.socket.destroy();
  const second = await reports();
  assert.deepEqual(await second.next(), { type: 'retired' });
  await second.send({ type: 'handoff' }, handoff.take);
  await waitFor(() => copiesOf(handoff, orphan) > copies, { what: 'the end to take from' });
  await second.send({ type: 'retire', handoff: handoff.id }, handoff.give);
  await waitFor(() => copiesOf(handoff, orphan) === copies, { what: 'the ends closed' });
  assert.equal(waitingIn(handoff), 1);
});

test('an orphan closes the first end of a handoff if the runner dies before the second', {
  skip,
}, async (t) => {
  const { orphan, reports, handoff } = await setUp(t);
  const { socket, send } = await reports();
  await send({ type: 'handoff' }, handoff.take);
  await waitFor(() => copiesOf(handoff, orphan) === 1, { what: 'the first end' });
  socket.destroy();
  await waitFor(() => copiesOf(handoff, orphan) === 0, { what: 'the first end closed' });
});

test('an orphan that never gets a handoff serves its connections in the end', { skip }, async (t) => {
  const { reports, client, handoff } = await setUp(t);
  const { send, next } = await reports();
  const answer = ask(client);
  let tries = 0;
  do {
    await send({ type: 'retire', handoff: handoff.id }, undefined);
    tries += 1;
    assert.ok(tries < 20, 'still asks for the handoff');
  } while (((await next()) as { lacksHandoff?: boolean }).lacksHandoff === true);
  assert.ok(tries > 10);
  assert.equal(await answer, '1');
});

test('an orphan sends its connections to a runner of an earlier version, which does not name the handoff', {
  skip,
}, async (t) => {
  const { reports, handoff } = await setUp(t);
  const { send, next } = await reports();
  await send({ type: 'handoff' }, handoff.take);
  await send({ type: 'retire' }, handoff.give);
  assert.deepEqual(await next(), { type: 'retired' });
  await waitFor(() => waitingIn(handoff) === 1, { what: 'the connection in the handoff' });
});

test('drainTimeout counts from the retirement, not from the death of the runner', async (t) => {
  const [early, late] = await Promise.all([
    setUp(t, { drainTimeout: 4000, inFlight: true }),
    setUp(t, { drainTimeout: 2500, inFlight: true }),
  ]);
  const ended = once(early.orphan, 'exit').then(() => performance.now());
  const since = performance.now();
  early.channel.write('{"type":"retire","last":false}\n');
  await waitFor(() => performance.now() - since > 3000, { what: 'most of drainTimeout' });
  early.channel.destroy();
  late.channel.destroy();
  assert.ok((await ended) - since >= 4000);
  assert.equal(late.orphan.exitCode ?? late.orphan.signalCode, null, 'still drains');
});

/**
 * Starts a worker with an idle connection of `client`, and lets it become an orphan: another generation is the active one. With
 * `inFlight`, the worker has a request in flight, and still its runner.
 */
async function setUp(t: TestContext, { drainTimeout = 60_000, inFlight = false } = {}) {
  const directory = await temporaryDirectory(t);
  const create = async () => {
    const handoff = await Handoff.create(directory, () => undefined);
    t.after(() => handoff.close());
    return handoff;
  };
  const orphanSocket = join(directory, 'orphans.sock');
  const connections: Socket[] = [];
  const runner = createServer((socket) => connections.push(socket)).listen(orphanSocket);
  await once(runner, 'listening');
  const generationFile = join(directory, 'generation');
  await writeFile(generationFile, JSON.stringify({ generation: 2, handoff: 'other' }));
  const boot = workerBoot({ key: 'shop', port: 1, generationFile, orphanSocket, drainTimeout });
  const own = await create();
  const orphan = spawn(appNode, ['--require', bootstrap, join(apps, 'plain.cjs')], {
    env: { PORT: '1', MARK: '1', KEEP_ALIVE_TIMEOUT: '60000', SLUICE_WORKER: JSON.stringify(boot) },
    stdio: ['ignore', 'ignore', 'inherit', 'pipe', own.take, own.give],
  });
  const channel = orphan.stdio[3] as Socket;
  const [line] = (await once(createInterface({ input: channel }), 'line')) as [string];
  const { port } = JSON.parse(line) as Extract<FromWorker, { type: 'ready' }>;
  const client = connect(port, '127.0.0.1').setEncoding('latin1');
  t.after(() => {
    orphan.kill('SIGKILL');
    client.destroy();
    runner.close();
    for (const connection of connections) connection.destroy();
  });
  assert.equal(await ask(client), '1');
  if (inFlight) {
    client.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
    await once(client, 'data');
  } else channel.destroy();
  /** Waits for the report of the orphan. */
  const reports = async () => {
    const socket = await waitFor(() => connections.shift(), { what: 'the report of the orphan' });
    t.after(() => socket.destroy());
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
    const next = async () => JSON.parse((await lines.next()).value as string) as FromOrphan;
    assert.equal((await next()).type, 'orphan');
    const send = async (message: ToOrphan, sent: Socket | undefined) => {
      const text = `${JSON.stringify(message)}\n`;
      if (sent === undefined) socket.write(text);
      else assert.ok(await sendHandles(socket, [{ text, sent }]));
    };
    return { socket, next, send };
  };
  return { orphan, channel, client, handoff: await create(), create, reports };
}

/** @returns number of descriptors that a process has of both ends of a handoff */
function copiesOf(handoff: Handoff, { pid }: ChildProcess): number {
  const ends = [handoff.take, handoff.give].map((end) => readlinkSync(`/proc/self/fd/${fdOf(end)}`));
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      // The orphan has closed it meanwhile.
      return '';
    }
  });
  return links.filter((link) => ends.includes(link)).length;
}

/** @returns number of connections that wait in a handoff */
function waitingIn({ take }: Handoff): number {
  const info = readFileSync(`/proc/self/fdinfo/${fdOf(take)}`, 'utf8');
  return Number(/^scm_fds:\s*(\d+)$/m.exec(info)?.[1]);
}

function fdOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}
