import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Restarts } from '../../src/runner/generation/restarts.ts';

const spec = {
  maxRestarts: 16,
  minUptime: 1000,
  delay: 100,
  stopExitCodes: [9],
  autorestart: true,
  backoff: true,
};
const failed = 1;

test('the first restart comes at once, the next ones after delays that grow by half to 15 s', () => {
  const restarts = new Restarts(spec);
  const delays = Array.from({ length: 15 }, () => restarts.noteDeath(5000, failed));
  assert.deepEqual(delays.slice(0, 5), [0, 100, 150, 225, 337.5]);
  assert.equal(delays.at(-1), 15_000);
  assert.equal(restarts.isCrashing, false);
});

test('after an uptime of 30 s, earlier deaths do not count', () => {
  const restarts = new Restarts(spec);
  for (let deaths = 0; deaths < 10; deaths += 1) restarts.noteDeath(10, failed);
  assert.equal(restarts.noteDeath(30_000, failed), 0);
  assert.equal(restarts.noteDeath(10, failed), 100);
});

test('maxRestarts early deaths in a row are a crash, and an uptime of minUptime ends the crash', () => {
  const restarts = new Restarts(spec);
  for (let deaths = 0; deaths < 15; deaths += 1) restarts.noteDeath(999, failed);
  assert.equal(restarts.isCrashing, false);
  assert.equal(restarts.noteDeath(0, failed), 15_000);
  assert.equal(restarts.isCrashing, true);
  restarts.noteDeath(1000, failed);
  assert.equal(restarts.isCrashing, false);
});

test('a process with one of stopExitCodes is not restarted, and a killed process is', () => {
  const restarts = new Restarts(spec);
  assert.equal(restarts.noteDeath(5000, 9), null);
  assert.equal(restarts.noteDeath(5000, null), 0);
  assert.equal(restarts.count, 1);
});

test('without backoff, the pause is the same before each restart, and longer only after a crash', () => {
  const restarts = new Restarts({ ...spec, delay: 4000, backoff: false });
  assert.deepEqual(
    Array.from({ length: 4 }, () => restarts.noteDeath(5000, 0)),
    [4000, 4000, 4000, 4000],
  );
  for (let deaths = 0; deaths < 15; deaths += 1) restarts.noteDeath(10, failed);
  assert.equal(restarts.noteDeath(10, failed), 15_000);
  const slow = new Restarts({ ...spec, delay: 60_000, backoff: false, maxRestarts: 1 });
  assert.equal(slow.noteDeath(10, failed), 60_000);
});

test('without a pause of its own, a process that ends at once again and again waits longer each time, up to 5 s', () => {
  for (const settings of [
    { delay: 0, backoff: true },
    { delay: 1, backoff: true },
    { delay: 0, backoff: false },
  ]) {
    const restarts = new Restarts({ ...spec, ...settings, minUptime: 0 });
    const delays = Array.from({ length: 13 }, () => restarts.noteDeath(999, failed));
    assert.deepEqual([...delays.slice(0, 4), delays.at(-1)], [0, 100, 150, 225, 5000]);
    const next = restarts.noteDeath(1000, failed) ?? Number.NaN;
    assert.ok(next < 200, `${next} ms after an uptime of 1 s`);
  }
});

test('with autorestart: false, a process is not started again however it ends, but a failed start is repeated', () => {
  const restarts = new Restarts({ ...spec, autorestart: false });
  assert.equal(restarts.noteDeath(5000, 0), null);
  assert.equal(restarts.noteDeath(5000, null), null);
  assert.equal(restarts.describeNext(null), 'it is not started again ("autorestart")');
  assert.deepEqual([restarts.noteFailedStart(), restarts.noteFailedStart()], [0, 100]);
});
