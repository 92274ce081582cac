import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import type { FromWorker } from '../../src/protocol/worker.ts';
import { Allowance } from '../../src/runner/allowance.ts';
import { Members, mostMembers } from '../../src/runner/generation/members.ts';
import { ListeningPort } from '../../src/runner/ports/listening-port.ts';
import { sendHandles } from '../../src/runner/takeover/send-handle.ts';
import { freePort } from '../support/free-port.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const ready: FromWorker = {
  type: 'ready',
  port: 4000,
  protocol: 'http',
  listens: 9001,
  onlyInterrupt: false,
};

test('a worker confirms a message once all its members have confirmed it', async (t) => {
  const { members, said, join } = await setUp(t);
  const [one, other] = [await join(), await join()];
  one.send(ready);
  other.send({ ...ready, port: 4001 });
  await waitFor(() => said().length === 1);
  assert.deepEqual(said(), [ready]);

  members.post({ type: 'open', wait: false });
  await waitFor(() => one.heard.length === 1 && other.heard.length === 1);
  one.send({ type: 'opened' });
  one.send({ type: 'forked' });
  await waitFor(() => said().length === 2);
  other.send({ type: 'opened' });
  await waitFor(() => said().length === 3);
  members.post({ type: 'retire', last: false });
  assert.equal(members.hasRetired, false);
  one.send({ type: 'retired' });
  one.send({ type: 'drained' });
  await waitFor(() => members.hasRetired);
  other.send({ type: 'retired' });
  await waitFor(() => said().length === 4);
  other.socket.destroy();
  await waitFor(() => said().length === 5);
  const types = said().map(({ type }) => type);
  assert.deepEqual(types, ['ready', 'forked', 'opened', 'retired', 'drained']);
});

test('a process that joins later opens in an open worker, and joins a retired one only after it opens again', async (t) => {
  const { members, said, join } = await setUp(t);
  members.post({ type: 'open', wait: true });
  members.post({ type: 'serve' });
  await waitFor(() => said().length === 1);
  const late = await join();
  await waitFor(() => late.heard.length === 1);
  assert.deepEqual(late.heard, ['open']);
  members.post({ type: 'retire', last: false });
  const refused = await join();
  await waitFor(() => refused.socket.destroyed);
  assert.deepEqual(refused.heard, []);
  members.post({ type: 'open', wait: false });
  const later = await join();
  await waitFor(() => later.heard.length === 1);
  assert.deepEqual(later.heard, ['open']);
});

test('a process is disconnected, and no error is left, if its worker retires or its port closes while it joins', async (t) => {
  const { members, join, welcomes } = await setUp(t);
  welcomes.next = async () => {
    members.post({ type: 'retire', last: false });
    return true;
  };
  const retired = await join();
  await waitFor(() => retired.socket.destroyed);
  members.post({ type: 'open', wait: false });
  const port = await ListeningPort.bind(
    { key: 'shop', host: '127.0.0.1', port: await freePort() } as GenerationSpec,
    true,
  );
  port.close();
  welcomes.next = (socket) => sendHandles(socket, [{ text: '{}\n', sent: port }]);
  const closed = await join();
  await waitFor(() => closed.socket.destroyed);
  welcomes.next = () => Promise.reject(new Error('no descriptor'));
  const failed = await join();
  await waitFor(() => failed.socket.destroyed);
  assert.equal(members.size, 0);
});

test('a worker reports heartbeats and requests in flight as sums, and no heartbeat while a member is silent', async (t) => {
  const { members, said, beats, join } = await setUp(t);
  const [one, other] = [await join(), await join()];
  const beat = { type: 'beat', eventLoopDelayMs: 1, connections: 2, requests: 1 } as const;
  one.send(ready);
  one.send(beat);
  await waitFor(() => beats().length === 1);
  other.send(ready);
  other.send({ type: 'forked' });
  await waitFor(() => said().at(-1)?.type === 'forked');
  one.send({ ...beat, eventLoopDelayMs: 7 });
  await waitFor(() => beats().length === 2);
  one.send(beat);
  one.send(beat);
  one.send({ type: 'forked' });
  await waitFor(() => said().filter(({ type }) => type === 'forked').length === 2);
  assert.equal(beats().length, 2);
  other.send(beat);
  await waitFor(() => beats().length === 3);
  assert.deepEqual(beats().at(-1), { ...beat, connections: 4, requests: 2 });

  members.post({ type: 'reportInFlight' });
  one.send({ type: 'inFlight', requests: 3, connections: 1 });
  other.send({ type: 'inFlight', requests: 4, connections: 0 });
  await waitFor(() => said().at(-1)?.type === 'inFlight');
  assert.deepEqual(said().at(-1), { type: 'inFlight', requests: 7, connections: 1 });
});

test('a worker that retires before all its members have opened confirms both', async (t) => {
  const { members, said, join } = await setUp(t);
  const [one, other] = [await join(), await join()];
  members.post({ type: 'open', wait: false });
  one.send({ type: 'opened' });
  one.send({ type: 'forked' });
  await waitFor(() => said().length === 1);
  members.post({ type: 'retire', last: false });
  other.send({ type: 'opened' });
  for (const each of [one, other]) each.send({ type: 'retired' });
  await waitFor(() => said().at(-1)?.type === 'retired');
  assert.deepEqual(
    said().map(({ type }) => type),
    ['forked', 'opened', 'retired'],
  );
});

test('another member takes the place of the first one, which has ended', async (t) => {
  const { members, said, join } = await setUp(t);
  const [one, other] = [await join(), await join()];
  one.send(ready);
  await waitFor(() => members.listens);
  other.send({ ...ready, port: 4001 });
  other.send({ type: 'forked' });
  await waitFor(() => said().length === 2);
  one.socket.destroy();
  await waitFor(() => said().length === 3);
  assert.deepEqual(said().at(-1), { ...ready, port: 4001 });
  other.socket.destroy();
  await waitFor(() => !members.listens);
});

test('a worker has 64 members at most, and a member that writes anything but messages is reported', async (t) => {
  const { members, refused, join } = await setUp(t);
  const all = [];
  for (let count = 0; count < mostMembers; count += 1) all.push(await join());
  const [first] = all;
  const excess = await join();
  await waitFor(() => excess.socket.destroyed);
  assert.equal(members.size, mostMembers);
  first?.socket.write('nonsense\n');
  await waitFor(() => refused.length === 2);
  assert.deepEqual(refused, ['many', 'wrote']);
});

test('members that come and go use up the allowance of the app', async (t) => {
  const { join } = await setUp(t, new Allowance(64 * 1024, 1, performance.now()));
  const joined = [await join(), await join(), await join(), await join(), await join()];
  const last = await join();
  await waitFor(() => last.socket.destroyed);
  assert.ok(joined.every(({ socket }) => !socket.destroyed));
});

test('a member that opens after the others is reported once', async (t) => {
  const { members, join, late } = await setUp(t);
  const first = await join();
  members.post({ type: 'open', wait: false });
  first.send({ type: 'opened' });
  const second = await join();
  await waitFor(() => second.heard.includes('open'));
  second.send({ type: 'opened' });
  second.send({ type: 'opened' });
  const third = await join();
  third.send({ type: 'opened' });
  await waitFor(() => late.length === 2);
  members.post({ type: 'open', wait: false });
  for (const member of [first, second, third]) member.send({ type: 'opened' });
  const last = await join();
  last.send({ type: 'opened' });
  await waitFor(() => late.length > 2);
  assert.equal(late.length, 3);
});

/** @returns `join` adds a member; `said` and `beats` return the messages of the worker as a whole; `welcomes.next` welcomes */
async function setUp(t: TestContext, allowance = new Allowance(1e9, 1e9, 0)) {
  const messages: FromWorker[] = [];
  const refused: string[] = [];
  const late: string[] = [];
  const welcomes = { next: async (_socket: Socket) => true };
  const members = new Members({
    allowance,
    welcome: (socket) => welcomes.next(socket),
    changed: () => undefined,
    joined: () => late.push('joined'),
    message: (message) => messages.push(message),
    refused: (why) => refused.push(why),
  });
  const path = join(await temporaryDirectory(t), 'members.sock');
  const server = createServer().listen(path);
  await once(server, 'listening');
  t.after(() => {
    server.close();
    members.disconnect();
  });
  let pids = 0;
  return {
    ...{ members, refused, late, welcomes },
    said: () => messages.filter(({ type }) => type !== 'beat'),
    beats: () => messages.filter(({ type }) => type === 'beat'),
    join: async () => {
      const socket = connect(path);
      const [accepted] = (await once(server, 'connection')) as [Socket];
      accepted.on('error', () => undefined);
      socket.on('error', () => undefined);
      t.after(() => socket.destroy());
      pids += 1;
      await members.join(accepted, pids);
      const heard: string[] = [];
      createInterface({ input: socket }).on('line', (line) => heard.push(JSON.parse(line).type));
      const send = (message: FromWorker) => socket.write(`${JSON.stringify(message)}\n`);
      return { socket, heard, send };
    },
  };
}
