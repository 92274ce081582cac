import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Handoff as Pair } from '../../src/runner/handoff.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const path = fileURLToPath(new URL('../../src/worker/handoff.cjs', import.meta.url));
const { Handoff } = createRequire(import.meta.url)(path) as typeof import('../../src/worker/handoff.cjs');

/** More than fit into a pair. */
const many = 400;

test('a worker waits for a full handoff, which is empty once all connections are taken out', async (t) => {
  const { handoff, connections } = await setUp(t, many);
  let given = 0;
  for (const { _handle: handle } of connections)
    handoff.give({ handle, given: () => (given += 1), failed: () => assert.fail('refused') });
  await waitFor(() => given >= 200, { what: 'a full handoff' });
  assert.ok(given < many);
  assert.equal(handoff.isEmpty, false);
  const taken: Handle[] = [];
  handoff.take((handle) => taken.push(handle));
  await waitFor(() => taken.length === many, { what: 'all connections' });
  assert.equal(given, many);
  assert.ok(handoff.isEmpty);
  for (const handle of taken) handle.close();
});

test('connections that still wait for a full handoff are closed on demand, and so are later ones', async (t) => {
  const { handoff, connections, clients } = await setUp(t, many);
  const [late, ...early] = connections;
  const counts = { given: 0 };
  const give = (connection: (typeof connections)[number] | undefined) =>
    handoff.give({
      get handle() {
        return connection?.destroyed ? undefined : connection?._handle;
      },
      given: () => {
        counts.given += 1;
        connection?.destroy();
      },
      failed: () => assert.fail('refused'),
    });
  for (const connection of early) give(connection);
  await waitFor(() => counts.given >= 200, { what: 'a full handoff' });
  assert.equal(handoff.waiting, early.length - counts.given);
  const inside = counts.given;
  handoff.drop();
  assert.equal(handoff.waiting, 0);
  give(late);
  const closed = () => clients.filter((client) => client.resume().closed).length;
  // One is being written, and goes in when there is space.
  await waitFor(() => closed() >= many - inside - 1, { what: 'the end of the others' });
  const taken: Handle[] = [];
  handoff.take((handle) => taken.push(handle));
  await waitFor(() => taken.length >= inside && handoff.isEmpty, { what: 'the connections inside' });
  for (const handle of taken) handle.close();
});

test('connections that pass from one handoff to another arrive, and none is closed', async (t) => {
  const { handoff, connections, clients } = await setUp(t, many);
  const next = await openHandoff(t);
  for (const connection of connections) {
    const given = () => void connection.destroy();
    handoff.give({ handle: connection._handle, given, failed: () => assert.fail('refused') });
  }
  handoff.take((handle) => next.pass(handle));
  await waitFor(() => handoff.isEmpty && !next.isEmpty, { what: 'an empty handoff' });
  assert.equal(next.isEmpty, false);
  const taken: Handle[] = [];
  next.take((handle) => taken.push(handle));
  await waitFor(() => taken.length === many && next.isEmpty, {
    what: 'all connections in the second handoff',
  });
  assert.ok(clients.every(({ closed }) => !closed));
  const closed = clients.map((client) => once(client.resume(), 'close'));
  for (const handle of taken) handle.close();
  await Promise.all(closed);
});

test('a connection that closes while it waits for a full handoff is not sent, and later ones are', async (t) => {
  const { handoff, connections } = await setUp(t, many);
  const counts = giveAll(handoff, connections);
  await waitFor(() => counts.given >= 200, { what: 'a full handoff' });
  for (const connection of connections.slice(-100, -50)) connection.destroy();
  const taken: Handle[] = [];
  handoff.take((handle) => taken.push(handle));
  await waitFor(() => taken.length === many - 50 && handoff.isEmpty, { what: 'the other connections' });
  assert.deepEqual(counts, { given: many - 50, failed: 50 });
  for (const handle of taken) handle.close();
});

for (const close of ['destroy', 'resetAndDestroy'] as const) {
  test(`"${close}" of a connection whose write waits for a full handoff: the worker lives, and the connection arrives`, async (t) => {
    const { connections } = await setUp(t, many);
    const { ends, Pipe } = await createPair(t);
    const uncounted = openSync('/dev/null', 'r');
    t.after(() => closeSync(uncounted));
    const giver = new Handoff({ take: uncounted, give: ends.give }, Pipe);
    const counts = giveAll(giver, connections);
    await untilSteady(() => counts.given);
    const before = counts.given;
    assert.ok(before >= 200 && before < many, `${before} given`);
    // The first of them is the one whose write waits.
    const { fd } = (connections[before] as Connection)._handle;
    const { ino } = fstatSync(fd);
    for (const connection of connections.slice(before)) connection[close]();
    await turns();
    assert.equal(fstatSync(fd).ino, ino, 'the descriptor is open as long as the write waits');
    const taken: Handle[] = [];
    const handoff = new Handoff(ends, Pipe);
    t.after(() => handoff.stop());
    handoff.take((handle) => taken.push(handle));
    await waitFor(() => giver.isEmpty && handoff.isEmpty, { what: 'the end of all writes' });
    assert.deepEqual(counts, { given: before + 1, failed: many - before - 1 });
    assert.equal(taken.length, counts.given);
    assert.notEqual(inodeOf(fd), ino, 'the descriptor is closed');
    for (const handle of taken) handle.close();
  });
}

test('a connection that cannot be put into a handoff can be closed', async (t) => {
  const { connections } = await setUp(t, 1);
  const [connection] = connections as [Connection];
  const { Pipe } = await createPair(t);
  // A write into this descriptor fails at once, and closes the descriptor.
  const fd = openSync('/dev/null', 'r');
  let failed = false;
  new Handoff({ take: fd, give: fd }, Pipe).give({
    handle: connection._handle,
    given: () => assert.fail('given'),
    failed: () => {
      failed = true;
    },
  });
  await waitFor(() => failed);
  connection.destroy();
  await once(connection, 'close');
});

test('a worker stops taking at once, and leaves the rest to others', async (t) => {
  const { handoff, connections } = await setUp(t, 50);
  let given = 0;
  for (const { _handle: handle } of connections)
    handoff.give({ handle, given: () => (given += 1), failed: undefined });
  const taken: Handle[] = [];
  handoff.take((handle) => {
    taken.push(handle);
    if (taken.length === 10) handoff.stop();
  });
  await waitFor(() => given === 50 && taken.length >= 10, { what: 'the writes, and the first ten' });
  assert.equal(taken.length, 10);
  assert.equal(handoff.isEmpty, false);
  handoff.take((handle) => taken.push(handle));
  await waitFor(() => taken.length === 50 && handoff.isEmpty);
  for (const handle of taken) handle.close();
});

test('a worker at its limit of open files loses no connection of a handoff, wherever its free descriptors are', async (t) => {
  // It has twenty free descriptors between others, and the connections that it takes are more than these.
  const outcome = await takeAtLimit(
    t,
    `
      let given = 0;
      for (let count = 0; count < 40; count += 1) {
        const client = net.connect(server.address().port, '127.0.0.1');
        client.on('error', () => {});
        const connection = await accept(server);
        handoff.give({ handle: connection._handle, given: () => { given += 1; connection.destroy(); }, failed: undefined });
        await wait(() => given === count + 1);
      }
      const opened = [];
      try { for (;;) opened.push(openSync('/dev/null')); } catch {}
      for (const fd of opened.splice(10, 20)) closeSync(fd);
      const taken = [];
      handoff.take((handle) => taken.push(handle));
      for (let count = 0; count < 10; count += 1) await pass(100);
    `,
  );
  assert.deepEqual(outcome, { before: 0, after: 40 });
});

test('a worker that reaches its limit of open files while it takes loses no connection of a handoff', async (t) => {
  // It counts its free descriptors once a second.
  const outcome = await takeAtLimit(
    t,
    `
      for (let count = 0; count < 40; count += 1) {
        net.connect(server.address().port, '127.0.0.1').on('error', () => {});
        connections.push(await accept(server));
      }
      const taken = [];
      handoff.take((handle) => taken.push(handle));
      const opened = [];
      try { for (;;) opened.push(openSync('/dev/null')); } catch {}
      await pass(1000);
      let given = 0;
      for (const connection of connections)
        handoff.give({ handle: connection._handle, given: () => { given += 1; }, failed: undefined });
      await wait(() => given === 40);
      await pass(0);
    `,
  );
  assert.deepEqual(outcome, { before: 0, after: 40 });
});

/**
 * Runs a process that may have 160 open files, and has a `handoff`, a `server` and a list of `connections` to close at the end.
 * Its timers run only when `pass` lets a time pass.
 * @param steps opens all files that it may, `opened`; has 40 connections given to the handoff, and takes them into `taken`
 * @returns number of connections taken before and after its files are closed
 */
async function takeAtLimit(t: TestContext, steps: string): Promise<unknown> {
  const program = `
    const { closeSync, openSync } = require('node:fs');
    const net = require('node:net');
    const { mock } = require('node:test');
    const { Handoff } = require(process.argv[1]);
    // A test that fails may leave this process behind.
    setTimeout(() => process.exit(1), 60_000).unref();
    mock.timers.enable({ apis: ['setTimeout'] });
    const pass = async (ms) => {
      mock.timers.tick(ms);
      for (let turns = 0; turns < 20; turns += 1) await new Promise(setImmediate);
    };
    const wait = async (condition) => { while (!condition()) await new Promise(setImmediate); };
    (async () => {
      const accept = (server) => new Promise((resolve) => server.once('connection', resolve));
      const pairs = net.createServer({ pauseOnConnect: true }).listen(process.argv[2]);
      const give = net.connect(process.argv[2]).pause();
      const take = await accept(pairs);
      const { Pipe } = process.binding('pipe_wrap');
      const handoff = new Handoff({ take: take._handle.fd, give: give._handle.fd }, Pipe);
      const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      const connections = [];
      ${steps}
      const before = taken.length;
      for (const connection of connections) connection.destroy();
      for (const fd of opened) closeSync(fd);
      while (!handoff.isEmpty) await pass(100);
      console.log(JSON.stringify({ before, after: taken.length }));
      process.exit();
    })();`;
  const socket = `${await temporaryDirectory(t)}/pair`;
  const args = ['-c', 'ulimit -n 160; exec "$0" --no-warnings -e "$1" "$2" "$3"', process.execPath, program];
  const stdout = await new Promise<string>((resolve, reject) => {
    execFile('/bin/sh', [...args, path, socket], { timeout: 60_000 }, (error, text) =>
      error ? reject(error) : resolve(text),
    );
  });
  return JSON.parse(stdout);
}

/** @returns undefined if the descriptor is closed */
function inodeOf(fd: number): number | undefined {
  try {
    return fstatSync(fd).ino;
  } catch {
    return undefined;
  }
}

interface Handle {
  fd: number;
  close(): void;
}

type Connection = Socket & { _handle: Handle };

async function openHandoff(t: TestContext) {
  const { ends, Pipe } = await createPair(t);
  const handoff = new Handoff(ends, Pipe);
  t.after(() => handoff.stop());
  return handoff;
}

/** @returns descriptors of both ends, and the class of handles of pipes */
async function createPair(t: TestContext) {
  const pair = await Pair.create(await temporaryDirectory(t), () => undefined);
  t.after(() => pair.close());
  const handleOf = ({ _handle }: { _handle?: { fd: number } }) => _handle as { fd: number };
  const [take, give] = [handleOf(pair.take as object), handleOf(pair.give as object)];
  return { ends: { take: take.fd, give: give.fd }, Pipe: take.constructor };
}

/** Gives connections as a worker does, which looks for the handle when its turn comes. @returns counts that grow */
function giveAll(handoff: InstanceType<typeof Handoff>, connections: Connection[]) {
  const counts = { given: 0, failed: 0 };
  for (const connection of connections) {
    handoff.give({
      get handle() {
        return connection.destroyed ? undefined : connection._handle;
      },
      given: () => (counts.given += 1),
      failed: () => (counts.failed += 1),
    });
  }
  return counts;
}

/** Waits until a number has not changed in many turns of the event loop: each write that need not wait ends in the next turn. */
async function untilSteady(count: () => number): Promise<void> {
  for (let before = -1; before !== count(); ) {
    before = count();
    await turns();
  }
}

/** Waits for many turns of the event loop. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
}

/** @returns connections as a worker has them that has been told to retire: unread */
async function setUp(t: TestContext, count: number) {
  const server: Server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const connections: Connection[] = [];
  server.on('connection', (connection) => connections.push(connection as Connection));
  const clients = Array.from({ length: count }, () => connect(port, '127.0.0.1').pause());
  t.after(() => {
    for (const socket of [...clients, ...connections]) socket.destroy();
    server.close();
  });
  await waitFor(() => connections.length === count, { what: 'the connections' });
  return { handoff: await openHandoff(t), connections, clients };
}
