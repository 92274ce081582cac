import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LoadTable as RunnerTable } from '../../src/runner/generation/load-table.ts';
import { Random } from '../support/random.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const own = <T>(name: string): T => {
  const path = fileURLToPath(new URL(`../../src/worker/${name}`, import.meta.url));
  return createRequire(import.meta.url)(path);
};
const { EvenOut } = own<typeof import('../../src/worker/even-out.cjs')>('even-out.cjs');
const { LoadTable } = own<typeof import('../../src/worker/load-table.cjs')>('load-table.cjs');

interface Connection {
  destroyed: boolean;
}

const random = new Random(16);

/** Worker that takes from a handoff, the array, when it has its turn. */
class Sibling {
  readonly handoff: Connection[];
  readonly table: InstanceType<typeof LoadTable>;
  readonly evenOut: InstanceType<typeof EvenOut>;
  idle: Connection[] = [];
  /** connections that cannot move */
  busy: number;
  takes = true;
  given = 0;

  constructor(table: RunnerTable, handoff: Connection[], idle: number, busy = 0) {
    const place = table.take();
    assert.ok(place);
    this.handoff = handoff;
    this.busy = busy;
    for (let count = 0; count < idle; count += 1) this.idle.push({ destroyed: false });
    this.table = new LoadTable(place.boot(table.fd));
    this.table.exchange(this.load);
    this.evenOut = new EvenOut({
      table: this.table,
      handoff: {
        get isEmpty() {
          return handoff.length === 0;
        },
        stop: () => {
          this.takes = false;
        },
      },
      take: () => {
        this.takes = true;
      },
      load: () => this.load,
      idle: () => this.idle,
      give: (sockets) => this.#give(sockets),
      random: () => random.below(1000) / 1000,
    });
  }

  get load(): number {
    return this.idle.length + this.busy;
  }

  #give(sockets: Connection[]): void {
    this.given += sockets.length;
    this.idle = this.idle.filter((socket) => !sockets.includes(socket));
    for (const socket of sockets) {
      socket.destroyed = true;
      this.handoff.push({ destroyed: false });
    }
    this.table.exchange(this.load);
  }

  turn(): void {
    if (!this.takes) return;
    const [next] = this.handoff.splice(0, 1);
    if (next === undefined) return;
    this.idle.push(next);
    this.table.exchange(this.load);
    this.evenOut.taken();
  }
}

async function setUp(
  t: TestContext,
  loads: { idle: number; busy?: number }[],
  start = (evenOut: Sibling['evenOut']) => evenOut.start(),
) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const table = new RunnerTable({
    user: undefined,
    log: assert.fail,
    directory: await temporaryDirectory(t),
  });
  t.after(() => table[Symbol.dispose]());
  const handoff: Connection[] = [];
  const workers = loads.map(({ idle, busy }) => new Sibling(table, handoff, idle, busy));
  for (const { evenOut } of workers) start(evenOut);
  /** Lets 0.1 s pass, in which all workers check, and take, except those that stand still. */
  const check = (stuck: Sibling[] = []) => {
    for (let ticks = 0; ticks < 10; ticks += 1) {
      t.mock.timers.tick(10);
      for (let turn = 0; turn < 100; turn += 1)
        for (const worker of workers) if (!stuck.includes(worker)) worker.turn();
    }
  };
  return { workers, handoff, check, loads: () => workers.map(({ load }) => load) };
}

for (const [before, after] of [
  [
    [32, 0],
    [16, 16],
  ],
  [
    [17, 17, 17, 13],
    [16, 16, 16, 16],
  ],
  [
    [30, 30, 0, 0],
    [15, 15, 15, 15],
  ],
  [
    [10, 10, 10, 10, 10, 10, 10, 0],
    [9, 9, 9, 9, 9, 9, 8, 8],
  ],
  [
    [1000, 1000, 0],
    [667, 667, 666],
  ],
] as const)
  test(`workers with ${before.join(', ')} idle connections get even`, async (t) => {
    const { workers, handoff, check, loads } = await setUp(
      t,
      before.map((idle) => ({ idle })),
    );
    for (let checks = 0; checks < 30; checks += 1) check();
    assert.deepEqual(
      loads().toSorted((a, b) => b - a),
      after,
    );
    assert.equal(handoff.length, 0);
    const given = workers.map((worker) => worker.given);
    // No connection moves to and fro.
    for (let checks = 0; checks < 30; checks += 1) check();
    assert.deepEqual(
      workers.map((worker) => worker.given),
      given,
    );
    assert.ok(workers.every(({ takes }) => takes));
  });

test('connections that cannot move stay, and count', async (t) => {
  const { check, loads } = await setUp(t, [{ idle: 4, busy: 20 }, { idle: 0 }]);
  for (let checks = 0; checks < 10; checks += 1) check();
  assert.deepEqual(loads(), [20, 4]);
});

test('a worker takes its connections back if no sibling takes them, and then gives no more', async (t) => {
  const { workers, handoff, check, loads } = await setUp(t, [{ idle: 32 }, { idle: 0 }]);
  const [running, stuck] = workers as [Sibling, Sibling];
  check([stuck]);
  assert.equal(handoff.length, 8);
  check([stuck]);
  check([stuck]);
  assert.deepEqual([handoff.length, ...loads()], [0, 32, 0]);
  for (let checks = 0; checks < 20; checks += 1) check([stuck]);
  assert.deepEqual([handoff.length, ...loads()], [0, 32, 0]);
  assert.ok(running.given <= 24 && running.takes, `it has given ${running.given}`);
});

test('a worker that leaves gives nothing more, and does not take again', async (t) => {
  const { workers, check, loads } = await setUp(t, [{ idle: 32 }, { idle: 0 }]);
  const [leaving] = workers as [Sibling];
  assert.equal(leaving.takes, false);
  leaving.evenOut.finish();
  assert.equal(leaving.takes, true);
  leaving.evenOut.start();
  leaving.evenOut.stop();
  assert.equal(leaving.takes, false);
  for (let checks = 0; checks < 30; checks += 1) check();
  assert.deepEqual(loads(), [32, 0]);
  assert.equal(leaving.takes, false);
});

test('only a worker with fewer connections takes those of a worker that is replaced', async (t) => {
  const { workers, handoff, check, loads } = await setUp(t, [{ idle: 30 }, { idle: 30 }, { idle: 0 }]);
  for (let count = 0; count < 30; count += 1) handoff.push({ destroyed: false });
  for (let turn = 0; turn < 30; turn += 1) for (const worker of workers) worker.turn();
  check();
  assert.deepEqual(loads(), [30, 30, 30]);
});

test('a worker with clearly more connections than the mean starts by itself', async (t) => {
  const { workers, check, loads } = await setUp(t, [{ idle: 20 }, { idle: 0 }, { idle: 1 }], (evenOut) =>
    evenOut.startIfUneven(),
  );
  for (let checks = 0; checks < 30; checks += 1) check();
  assert.ok(
    loads().every((load) => Math.abs(load - 7) <= 1),
    `${loads()}`,
  );
  assert.ok(workers.every(({ takes }) => takes));
});

test('a worker with two of 32 connections above the mean starts by itself', async (t) => {
  const { check, loads } = await setUp(t, [{ idle: 18 }, { idle: 14 }], (evenOut) => evenOut.startIfUneven());
  for (let checks = 0; checks < 40; checks += 1) check();
  const [one = 0, other = 0] = loads();
  assert.equal(one + other, 32);
  assert.ok(Math.abs(one - other) <= 1, `${one}:${other}`);
});

test('a worker that is hardly above the mean does not start by itself', async (t) => {
  const { workers, check, loads } = await setUp(t, [{ idle: 33 }, { idle: 30 }], (evenOut) =>
    evenOut.startIfUneven(),
  );
  assert.ok(workers.every(({ takes }) => takes));
  for (let checks = 0; checks < 10; checks += 1) check();
  assert.deepEqual(loads(), [33, 30]);
});

test('a worker whose connections cannot move starts again only after a while', async (t) => {
  const { workers, check } = await setUp(t, [{ idle: 0, busy: 40 }, { idle: 0 }], () => undefined);
  const [busy] = workers as [Sibling];
  const starts: boolean[] = [];
  for (let beat = 0; beat < 11; beat += 1) {
    busy.evenOut.startIfUneven();
    // Above the mean, it takes nothing while it evens out.
    starts.push(!busy.takes);
    for (let checks = 0; checks < 25; checks += 1) check();
    assert.ok(busy.takes);
  }
  const beats = starts.flatMap((isStarted, beat) => (isStarted ? [beat] : []));
  assert.deepEqual(beats, [0, 5, 10]);
});
