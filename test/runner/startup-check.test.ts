import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { waitUntilSettled } from '../../src/runner/generation/startup-check.ts';
import type { Handoff } from '../../src/runner/handoff.ts';
import { FakeClock, FakeWorkers, idleListener, settled } from '../support/fake-worker.ts';

const spec = { settleTime: 1000 } as GenerationSpec;

/** Workers of a release that become healthy when the test says so. */
function startWorkers(count: number, isProven = false) {
  const clock = new FakeClock();
  const fakes = new FakeWorkers(clock);
  for (let instance = 0; instance < count; instance += 1)
    fakes.spawn({
      ...{ spec: { release: 1 }, instance, handoff: {} as Handoff },
      listener: idleListener,
      log: () => undefined,
    });
  const handles = fakes.all.map(({ handle }) => handle);
  const wait = () => {
    const waiting = { state: 'waits' };
    const ended = waitUntilSettled(
      handles,
      { ...spec, ...(isProven && { isProven }) },
      new AbortController().signal,
      clock,
    );
    ended.then(
      () => (waiting.state = 'settled'),
      (error) => (waiting.state = error.code),
    );
    return waiting;
  };
  return { clock, fakes, handles, wait };
}

test('settleTime begins when the first worker is healthy, and the others boot meanwhile', async () => {
  const { clock, handles, wait } = startWorkers(3);
  handles[0]?.noteHealthy();
  await clock.advance(600);
  handles[1]?.noteHealthy();
  handles[2]?.noteHealthy();
  const waiting = wait();
  await clock.advance(399);
  assert.equal(waiting.state, 'waits');
  await clock.advance(1);
  assert.equal(waiting.state, 'settled');
});

test('each worker besides the first must run for a quarter of settleTime, however late it is healthy', async () => {
  const { clock, handles, wait } = startWorkers(2);
  handles[0]?.noteHealthy();
  await clock.advance(5000);
  handles[1]?.noteHealthy();
  const waiting = wait();
  await clock.advance(249);
  assert.equal(waiting.state, 'waits');
  await clock.advance(1);
  assert.equal(waiting.state, 'settled');
});

test('of a release that was live before, the first worker must run for a quarter of settleTime, too', async () => {
  const { clock, handles, wait } = startWorkers(1, true);
  handles[0]?.noteHealthy();
  await clock.advance(100);
  const waiting = wait();
  await clock.advance(149);
  assert.equal(waiting.state, 'waits');
  await clock.advance(1);
  assert.equal(waiting.state, 'settled');
});

test('a worker that ends within its time fails the start, also if it ended while others booted', async () => {
  for (const [ended, after] of [
    [1, 100],
    [0, 5000],
  ] as const) {
    const { clock, fakes, handles, wait } = startWorkers(2);
    handles[0]?.noteHealthy();
    await settled();
    if (ended === 0) fakes.all[0]?.exit({ code: 1, signal: null });
    await clock.advance(after);
    handles[1]?.noteHealthy();
    const waiting = wait();
    if (ended === 1) fakes.all[1]?.exit({ code: 1, signal: null });
    await settled();
    assert.equal(waiting.state, 'settle_exited');
  }
});
