import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ToWorker } from '../../src/protocol/worker.ts';
import { type Mover, Moves } from '../../src/runner/moves.ts';

const shared = {};

/** The other side: notes what it was told. */
class FakeWorker implements Mover {
  readonly told: ToWorker[] = [];
  handoff: object = shared;

  post(message: ToWorker): void {
    this.told.push(message);
  }

  /** What it was told since the last time. */
  heard(): ToWorker[] {
    return this.told.splice(0);
  }
}

function setUp() {
  const [old, fresh, other] = [new FakeWorker(), new FakeWorker(), new FakeWorker()];
  const open: FakeWorker[] = [fresh, other];
  const coming = { isOne: false };
  const moves = new Moves<FakeWorker>(
    () => open,
    () => coming.isOne,
  );
  return { old, fresh, other, open, coming, moves };
}

test('a connection is given away by the old worker before the new one reads from it', () => {
  const { old, fresh, moves } = setUp();
  moves.connection(old, 7);
  assert.deepEqual(old.heard(), [{ type: 'offer', connection: 7, move: 1 }]);
  moves.held(fresh, 1);
  assert.deepEqual(old.heard(), [{ type: 'moved', connection: 7 }]);
  assert.deepEqual(fresh.heard(), [{ type: 'take', move: 1 }]);
});

test('what nobody can take stays where it is, and what a worker holds unasked it drops', () => {
  const { old, fresh, open, moves } = setUp();
  open.length = 0;
  moves.connection(old, 7);
  assert.deepEqual(old.heard(), [{ type: 'kept', connection: 7 }]);
  moves.held(fresh, 1);
  assert.deepEqual(fresh.heard(), [{ type: 'drop', move: 1 }]);
});

test('a connection stays where it is if no open worker reads from the same handoff', () => {
  const { old, fresh, other, moves } = setUp();
  fresh.handoff = {};
  moves.connection(old, 7);
  assert.deepEqual(old.heard(), [{ type: 'offer', connection: 7, move: 1 }]);
  other.handoff = {};
  moves.connection(old, 8);
  assert.deepEqual(old.heard(), [{ type: 'kept', connection: 8 }]);
});

test('while a worker is coming, connections wait for it', () => {
  const { old, fresh, open, coming, moves } = setUp();
  open.length = 0;
  coming.isOne = true;
  moves.connection(old, 7);
  assert.deepEqual(old.heard(), []);
  open.push(fresh);
  moves.settle();
  assert.deepEqual(old.heard(), [{ type: 'offer', connection: 7, move: 1 }]);
});

test('what is taken by a worker that has to retire is offered anew', () => {
  const { old, fresh, other, open, moves } = setUp();
  moves.connection(old, 7);
  old.heard();
  open.splice(0, 1);
  moves.held(fresh, 1);
  assert.deepEqual(fresh.heard(), [{ type: 'drop', move: 1 }]);
  assert.deepEqual(old.heard(), [{ type: 'offer', connection: 7, move: 2 }]);
  moves.held(other, 2);
  assert.deepEqual(old.heard(), [{ type: 'moved', connection: 7 }]);
});

test('between two gates connections wait, those too that were held just before', () => {
  const { old, fresh, moves } = setUp();
  moves.connection(old, 1);
  old.heard();
  moves.pause();
  moves.held(fresh, 1);
  moves.connection(old, 2);
  assert.deepEqual(old.heard(), []);
  moves.resume();
  assert.deepEqual(
    old.heard().map((message) => message.type === 'offer' && message.connection),
    [1, 2],
  );
});

test('the death of a worker that may hold connections puts all of them in once more', () => {
  const { old, fresh, other, moves } = setUp();
  moves.connection(old, 1);
  moves.connection(old, 2);
  old.heard();
  moves.exited(fresh);
  assert.deepEqual(old.heard(), [
    { type: 'offer', connection: 1, move: 3 },
    { type: 'offer', connection: 2, move: 4 },
  ]);
  // It was in the handoff all the time.
  moves.held(other, 1);
  assert.deepEqual(other.heard(), [{ type: 'drop', move: 1 }]);
  moves.held(other, 3);
  assert.deepEqual(other.heard(), [{ type: 'take', move: 3 }]);
});

test('of a worker that has died nothing is kept', () => {
  const { old, fresh, moves } = setUp();
  moves.pause();
  moves.connection(old, 1);
  moves.exited(old);
  moves.resume();
  moves.connection(old, 2);
  moves.exited(old);
  moves.held(fresh, 1);
  assert.deepEqual(fresh.heard(), [{ type: 'drop', move: 1 }]);
  moves.connection(old, 3);
  moves.gone(old, 3);
  moves.held(fresh, 2);
  assert.deepEqual(fresh.heard(), [{ type: 'drop', move: 2 }]);
});

test('an app that names connections without end is told to keep them', () => {
  const { old, moves } = setUp();
  for (let connection = 0; connection < 50_000; connection += 1) moves.connection(old, connection);
  const told = old.heard();
  assert.equal(told.length, 50_000);
  const offered = told.filter(({ type }) => type === 'offer').length;
  assert.ok(offered <= 5000, `${offered} on the move`);
  moves.exited(old);
  moves.connection(old, 1);
  assert.equal(old.heard()[0]?.type, 'offer');
});
