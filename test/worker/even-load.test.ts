import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LoadTable as RunnerTable } from '../../src/runner/generation/load-table.ts';
import { settled } from '../support/fake-worker.ts';
import { Random } from '../support/random.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const own = <T>(name: string): T => {
  const path = fileURLToPath(new URL(`../../src/worker/${name}`, import.meta.url));
  return createRequire(import.meta.url)(path);
};
const { EvenLoad, Recent, leadOver } = own<typeof import('../../src/worker/even-load.cjs')>('even-load.cjs');
const { LoadTable } = own<typeof import('../../src/worker/load-table.cjs')>('load-table.cjs');

/** Worker whose connections wait in the queue of the test. */
class Acceptor {
  readonly queue: { waiting: number };
  load = 0;
  isPaused = false;
  /** true if the event loop stands still */
  isStuck = false;
  #found: (() => void) | undefined;
  readonly even: InstanceType<typeof EvenLoad>;

  constructor(table: RunnerTable, queue: { waiting: number }, now: () => number) {
    this.queue = queue;
    const place = table.take();
    assert.ok(place);
    this.even = new EvenLoad({
      table: new LoadTable(place.boot(table.fd)),
      acceptor: {
        pause: () => {
          this.isPaused = true;
        },
        resume: () => {
          this.isPaused = false;
        },
      },
      openWatcher: () => ({
        start: (found) => {
          this.#found = found;
          // The event loop reports a connection that waits already.
          setImmediate(() => this.isPaused && this.#found === found && this.turn());
          return true;
        },
        stop: () => {
          this.#found = undefined;
        },
      }),
      load: () => this.load,
      now,
    });
  }

  /** One turn of the event loop: accepts one connection, or finds that one waits. */
  turn(): void {
    if (this.isStuck || this.queue.waiting === 0) return;
    const found = this.#found;
    if (!this.isPaused) {
      this.queue.waiting -= 1;
      this.load += 1;
      this.even.accepted();
    } else if (found !== undefined) {
      this.#found = undefined;
      found();
    }
  }

  close(count: number): void {
    for (let closed = 0; closed < count; closed += 1) {
      this.load -= 1;
      this.even.changed();
    }
  }
}

async function setUp(t: TestContext, count: number) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const directory = await temporaryDirectory(t);
  const table = new RunnerTable({ user: undefined, log: assert.fail, directory });
  t.after(() => table[Symbol.dispose]());
  const queue = { waiting: 0 };
  const clock = { now: 0 };
  const add = () => new Acceptor(table, queue, () => clock.now);
  const workers = Array.from({ length: count }, add);
  /** Lets a millisecond pass. */
  const pass = async () => {
    clock.now += 1;
    t.mock.timers.tick(1);
    await settled();
  };
  return { directory, table, queue, workers, add, pass };
}

for (const [count, burst] of [
  [2, 64],
  [4, 32],
  [8, 32],
  [8, 200],
  [8, 1000],
] as const) {
  test(`${count} workers accept ${burst} connections evenly, whichever of them wakes up first`, async (t) => {
    const random = new Random(count * burst);
    const { queue, workers, pass } = await setUp(t, count);
    queue.waiting = burst;
    while (queue.waiting > 0) {
      // The first worker wakes up before the others in most rounds.
      for (const worker of workers) if (worker === workers[0] || random.once(2)) worker.turn();
      await pass();
    }
    const loads = workers.map(({ load }) => load);
    assert.equal(
      loads.reduce((sum, load) => sum + load),
      burst,
    );
    assert.ok(Math.max(...loads) / (burst / count) <= 1.04, loads.join(':'));
  });
}

for (const [count, before] of [
  [2, 0],
  [4, 1600],
  [8, 0],
] as const) {
  test(`connections that arrive slowly at ${count} workers after ${before} others are exactly even`, async (t) => {
    const random = new Random(count);
    const { queue, workers, pass } = await setUp(t, count);
    const turnAll = async () => {
      for (const worker of workers) if (worker === workers[0] || random.once(2)) worker.turn();
      await pass();
    };
    queue.waiting = before;
    while (queue.waiting > 0) await turnAll();
    for (let arrived = 0; arrived < 400; arrived += 1) {
      queue.waiting += 1;
      for (let milliseconds = 0; milliseconds < 5; milliseconds += 1) await turnAll();
    }
    while (queue.waiting > 0) await turnAll();
    const loads = workers.map(({ load }) => load);
    assert.deepEqual(
      loads,
      loads.map(() => (before + 400) / count),
    );
  });
}

test('a burst is even also after all connections of a larger one have closed', async (t) => {
  const { queue, workers, pass } = await setUp(t, 4);
  for (const burst of [1000, 64]) {
    queue.waiting = burst;
    while (queue.waiting > 0) {
      for (const worker of workers) worker.turn();
      // The first worker wakes up twice as often.
      workers[0]?.turn();
      await pass();
    }
    const loads = workers.map(({ load }) => load);
    assert.ok(Math.max(...loads) / (burst / workers.length) <= 1.07, loads.join(':'));
    for (const worker of workers) worker.close(worker.load);
  }
});

test('a new worker gets the next connections, and one that has lost connections gets as many as the others', async (t) => {
  const { queue, workers, add, pass } = await setUp(t, 2);
  const run = async (waiting: number) => {
    queue.waiting = waiting;
    while (queue.waiting > 0) {
      for (const worker of workers) worker.turn();
      await pass();
    }
  };
  await run(20);
  workers.push(add());
  await run(9);
  const [first, second, third] = workers as [Acceptor, Acceptor, Acceptor];
  // Each of the others accepts at most one before it learns of the new worker.
  assert.ok(third.load >= 7, `${first.load}:${second.load}:${third.load}`);
  second.close(6);
  await run(6);
  assert.ok(second.load >= 8, `${first.load}:${second.load}:${third.load}`);
});

for (const waiting of [97, 100, 102]) {
  test(`${waiting} connections do not wait for a sibling that is stuck, and the sibling gets its share once it runs again`, async (t) => {
    const { queue, workers, pass } = await setUp(t, 2);
    const [running, stuck] = workers as [Acceptor, Acceptor];
    stuck.isStuck = true;
    queue.waiting = waiting;
    let milliseconds = 0;
    let first = 0;
    for (; queue.waiting > 0; milliseconds += 1) {
      for (let turn = 0; turn < 64; turn += 1) running.turn();
      if (running.load > 1 && first === 0) first = milliseconds;
      await pass();
    }
    assert.ok(first > 0 && first <= 10, `the first one waited ${first} ms`);
    assert.ok(milliseconds <= 35, `the last one waited ${milliseconds} ms`);
    stuck.isStuck = false;
    queue.waiting = 50;
    while (queue.waiting > 0) {
      for (const worker of workers) worker.turn();
      await pass();
    }
    assert.ok(stuck.load >= 45, `${running.load}:${stuck.load}`);
  });
}

test('a worker that leaves accepts all that waits, and its siblings no longer wait for it', async (t) => {
  const { queue, workers, pass } = await setUp(t, 2);
  const [leaving, other] = workers as [Acceptor, Acceptor];
  queue.waiting = 3;
  leaving.turn();
  leaving.turn();
  assert.equal(leaving.isPaused, true);
  leaving.even.stop();
  assert.equal(leaving.isPaused, false);
  queue.waiting = 20;
  for (let turn = 0; turn < 20; turn += 1) other.turn();
  await pass();
  assert.equal(other.load, 20);
});

test('short connections and bursts allow a worker a lead, and connections that stay and arrive slowly allow none', () => {
  let now = 0;
  const recent = new Recent(() => now);
  const accept = (count: number, interval: number, load: (accepted: number) => number) => {
    for (let accepted = 0; accepted < count; accepted += 1) {
      now += interval;
      recent.accepted(load(accepted));
    }
  };
  accept(300, 1, () => 5);
  assert.ok(recent.shortShare > 0.9, String(recent.shortShare));
  assert.ok(leadOver(5, recent) >= 12);
  accept(200, 1, (accepted) => 5 + accepted);
  assert.equal(recent.shortShare, 0);
  assert.equal(leadOver(5, recent), 0);
  assert.equal(leadOver(320, recent), 9);
  accept(200, 0.25, (accepted) => 205 + accepted);
  assert.equal(leadOver(320, recent), 10);
  now += 100;
  assert.equal(leadOver(320, recent), 0, 'the burst is long ago');
  accept(100, 5, (accepted) => 405 + accepted);
  assert.equal(recent.shortShare, 0);
  assert.equal(leadOver(505, recent), 0);
});

test('a worker writes nothing into a file that the app has opened with the descriptor of the table', async (t) => {
  const { directory, table } = await setUp(t, 0);
  const place = table.take();
  assert.ok(place);
  const path = join(directory, 'other');
  writeFileSync(path, 'x'.repeat(5000));
  const other = openSync(path, 'r+');
  t.after(() => closeSync(other));
  const found = new LoadTable({ ...place.boot(table.fd), fd: other });
  found.exchange(3);
  assert.equal(found.isLost, true);
  assert.equal(found.least(), Number.POSITIVE_INFINITY);
  assert.equal(readFileSync(path, 'utf8'), 'x'.repeat(5000));
  // The same number, but an empty file since the last reading.
  writeFileSync(path, Buffer.from(place.boot(0).id, 'hex'));
  const emptied = new LoadTable({ ...place.boot(table.fd), fd: other });
  emptied.exchange(3);
  assert.equal(emptied.isLost, false);
  truncateSync(path);
  emptied.exchange(4);
  assert.equal(emptied.isLost, true);
  assert.equal(readFileSync(path, 'utf8'), '');
  const closed = new LoadTable({ ...place.boot(table.fd), fd: 1_000_000 });
  closed.exchange(3);
  assert.equal(closed.isLost, true);
});

test('places in the table are unique, and a place that is free again has no load', async (t) => {
  const { table } = await setUp(t, 0);
  const first = table.take();
  const second = table.take();
  assert.ok(first && second);
  const [one, two] = [first, second].map((place) => new LoadTable(place.boot(table.fd)));
  one?.exchange(7);
  two?.exchange(9);
  assert.equal(two?.least(), 7);
  first[Symbol.dispose]();
  two?.exchange(9);
  assert.equal(two?.least(), Number.POSITIVE_INFINITY);
  assert.deepEqual(table.take()?.boot(0).cell, first.boot(0).cell);
  const places = Array.from({ length: 300 }, () => table.take());
  assert.equal(places.filter((place) => place !== undefined).length, 253);
});

test('workers with a new listening socket have a table of their own', async (t) => {
  const { table } = await setUp(t, 0);
  const before = table.take(0);
  const after = table.take(1);
  assert.ok(before && after);
  assert.notEqual(before.boot(0).id, after.boot(0).id);
  const worker = new LoadTable(after.boot(table.fd));
  worker.exchange(5);
  // It had the same cell in the former table.
  before[Symbol.dispose]();
  const sibling = table.take(1);
  assert.ok(sibling);
  const other = new LoadTable(sibling.boot(table.fd));
  other.exchange(0);
  assert.equal(other.least(), 5);
});
