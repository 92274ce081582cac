import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Inboxes, Handoff as Pair } from '../../src/runner/handoff.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const source = (name: string) => fileURLToPath(new URL(`../../src/worker/${name}`, import.meta.url));
const require = createRequire(import.meta.url);
const { Affinity, slotOf } = require(
  source('affinity.cjs'),
) as typeof import('../../src/worker/affinity.cjs');
const { Handoff } = require(source('handoff.cjs')) as typeof import('../../src/worker/handoff.cjs');
const { Handoffs } = require(source('handoffs.cjs')) as typeof import('../../src/worker/handoffs.cjs');

test('connections to a slot without a worker reach the handoff when the generation retires', async (t) => {
  const { worker, give, next } = await setUp(t);
  const [first, second] = [worker(0), worker(1)];
  for (const each of [first, second]) each.affinity?.take(() => assert.fail('no worker is in slot 2'));
  give(first, 2);
  give(second, 2);
  for (const each of [first, second]) each.affinity?.stop();
  await waitFor(() => !first.mayEnd && !second.mayEnd, { what: 'the connections in the inbox' });
  // Without overlap, the runner keeps the handoff, but not the inboxes.
  first.abandon({ inboxes: false });
  assert.ok(!first.mayEnd);
  first.affinity?.passTo(first.latest);
  await waitFor(() => first.mayEnd, { what: 'the end of the worker' });
  assert.equal(await next(2), 2);
});

test('a worker that has been drained takes no connection, and the worker that gives it takes it', async (t) => {
  const { worker, give, next } = await setUp(t);
  const [early, late] = [worker(0), worker(1)];
  assert.ok(early.mayEnd);
  early.affinity?.end();
  give(late, 0);
  early.affinity?.passTo(early.latest);
  await waitFor(() => !late.mayEnd, { what: 'the connection in the inbox' });
  late.affinity?.passTo(late.latest);
  assert.equal(await next(1), 1);
  late.abandon();
  await waitFor(() => late.mayEnd);
});

test('a slot without a worker lets a bounded number of connections wait in each other worker', async (t) => {
  const { worker, give } = await setUp(t);
  const full = worker(0);
  let closed = 0;
  const handle = { getpeername: () => 0, close: () => (closed += 1) };
  t.mock.getter(Handoff.prototype, 'waiting', () => 256);
  const other = [...'abcdef'].find((address) => slotOf(address, 3) !== 0) ?? '';
  handle.getpeername = ((peer: { address: string }) => {
    peer.address = other;
    return 0;
  }) as typeof handle.getpeername;
  assert.ok(full.affinity?.route(handle));
  assert.equal(closed, 1);
  t.mock.restoreAll();
  give(full, 2);
  await waitFor(() => full.affinity?.mayEnd === false);
});

test('a worker that is replaced, and one of an app that stops, may end before the inboxes are empty', async (t) => {
  const { worker, give } = await setUp(t);
  const [replaced, stopped] = [worker(0), worker(1)];
  give(replaced, 2);
  await waitFor(() => !replaced.mayEnd && !stopped.mayEnd, { what: 'the connection in the inbox' });
  stopped.abandon();
  assert.ok(stopped.mayEnd);
  if (replaced.affinity) replaced.affinity.mustBeEmpty = false;
  await waitFor(() => replaced.mayEnd);
});

/** @returns `worker` makes the handoffs of a worker in a slot; `give` lets it accept a connection of a client of another slot */
async function setUp(t: TestContext) {
  const slots = 3;
  const directory = await temporaryDirectory(t);
  const inboxes = await Inboxes.create(slots, directory, () => undefined);
  const pair = await Pair.create(directory, () => undefined);
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted: Socket[][] = await Promise.all(
    Array.from({ length: slots }, (_, slot) => connectFrom(t, server, slot, slots)),
  );
  const all: InstanceType<typeof Handoffs>[] = [];
  t.after(() => {
    for (const each of all) {
      each.affinity?.end();
      each.own.stop();
    }
    inboxes[Symbol.dispose]();
    pair.close();
    server.close();
  });
  const { constructor: Pipe } = handleOf(pair.take);
  const ends = () => ({ take: handleOf(pair.take).fd, give: handleOf(pair.give).fd });
  const worker = (slot: number) => {
    const handoffs = new Handoffs(ends(), Pipe, () => undefined);
    const [take, give] = (['take', 'give'] as const).map((end) =>
      inboxes.all.map((each) => handleOf(each[end]).fd),
    );
    handoffs.affinity = new Affinity({ slot, take: take as number[], give: give as number[] }, Pipe);
    all.push(handoffs);
    return handoffs;
  };
  const give = ({ affinity }: InstanceType<typeof Handoffs>, slot: number) => {
    const socket = accepted[slot]?.pop();
    assert.ok(affinity?.route(handleOf(socket)));
  };
  /** Takes that many connections out of the handoff. */
  const next = async (count: number) => {
    const taken: { close(): void }[] = [];
    const handoffs = new Handoffs(ends(), Pipe, () => undefined);
    all.push(handoffs);
    handoffs.own.take((handle) => taken.push(handle));
    await waitFor(() => taken.length >= count, { what: 'connections in the handoff' });
    for (const handle of taken) handle.close();
    return taken.length;
  };
  return { worker, give, next };
}

/** Connects twice from an address of a slot. @returns the accepted connections */
async function connectFrom(t: TestContext, server: Server, slot: number, slots: number): Promise<Socket[]> {
  const addresses = Array.from({ length: 100 }, (_, index) => `127.0.0.${index + 2}`);
  const localAddress = addresses.find((address) => slotOf(address, slots) === slot);
  const { port } = server.address() as { port: number };
  const found: Socket[] = [];
  server.on('connection', (socket: Socket) => socket.remoteAddress === localAddress && found.push(socket));
  for (let count = 0; count < 2; count += 1) {
    const client = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => undefined);
    t.after(() => client.destroy());
  }
  await waitFor(() => found.length === 2, { what: 'two connections' });
  return found;
}

function handleOf(socket: unknown): { fd: number } {
  return (socket as { _handle: { fd: number } })._handle;
}
