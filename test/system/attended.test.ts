import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AttendedDeadline, attendedTime } from '../../src/system/concurrency/deadline.ts';
import { waitFor } from '../support/wait.ts';

test('time in which our own event loop stood still does not count', async () => {
  using deadline = new AttendedDeadline(1500);
  const start = performance.now();
  for (let times = 0; times < 2; times += 1) {
    const end = performance.now() + 2000;
    while (performance.now() < end);
    await sleep(0);
    assert.equal(deadline.signal.aborted, false);
  }
  await waitFor(() => deadline.signal.aborted);
  assert.ok(performance.now() - start > 4000);
});

test('a deadline passes after its time if nothing stands still, and never after it is disposed', async () => {
  const start = performance.now();
  using deadline = new AttendedDeadline(300);
  const other = new AttendedDeadline(100);
  other[Symbol.dispose]();
  await waitFor(() => deadline.signal.aborted);
  assert.ok(performance.now() - start >= 299);
  assert.equal(other.signal.aborted, false);
});

test('a process that is always late still counts a part of the time', () => {
  assert.deepEqual([20, 499, 700, 60_000].map(attendedTime), [20, 499, 500, 500]);
});
