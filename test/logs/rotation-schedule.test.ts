import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { nextAt, scheduleRotation } from '../../src/logs/rotation-schedule.ts';

test('logs are rotated once a day, at the hour and the minute that are set', (t) => {
  const clock = t.mock.timers;
  const rotations: string[] = [];
  clock.enable({ apis: ['setTimeout', 'Date'], now: new Date(2026, 4, 1, 12, 0) });
  const schedule = scheduleRotation('30 3 * * *', () => rotations.push(new Date().toString()));
  const minute = 60_000;
  for (let passed = 0; passed < 48 * 60; passed += 1) clock.tick(minute);
  schedule.end();
  for (let passed = 0; passed < 48 * 60; passed += 1) clock.tick(minute);
  assert.deepEqual(rotations, [new Date(2026, 4, 2, 3, 30), new Date(2026, 4, 3, 3, 30)].map(String));
});

test('a clock that is set past the time of several rotations has logs rotated once', (t) => {
  const clock = t.mock.timers;
  let rotations = 0;
  clock.enable({ apis: ['setTimeout', 'Date'], now: new Date(2026, 4, 1, 12, 0) });
  const schedule = scheduleRotation('0 0 * * *', () => {
    rotations += 1;
  });
  t.after(() => schedule.end());
  clock.setTime(new Date(2026, 4, 4, 12, 0).getTime());
  clock.tick(60_000);
  assert.equal(rotations, 1);
  clock.setTime(new Date(2026, 4, 4, 23, 59).getTime());
  clock.tick(60_000);
  assert.equal(rotations, 2);
});

test('a time that the beginning of summer leaves out comes an hour later, one that its end has twice comes once', (t) => {
  inZone(t, 'Europe/Berlin');
  const time = { hour: 2, minute: 30 };
  const next = (now: string) => nextAt(time, new Date(now)).toISOString();
  assert.equal(next('2026-03-28T12:00:00+01:00'), '2026-03-29T01:30:00.000Z');
  assert.equal(next('2026-03-29T01:30:00Z'), '2026-03-30T00:30:00.000Z');
  assert.equal(next('2026-10-24T12:00:00+02:00'), '2026-10-25T00:30:00.000Z');
  assert.equal(next('2026-10-25T00:30:00Z'), '2026-10-26T01:30:00.000Z');
});

function inZone(t: TestContext, zone: string): void {
  const before = process.env['TZ'];
  process.env['TZ'] = zone;
  t.after(() => {
    if (before === undefined) delete process.env['TZ'];
    else process.env['TZ'] = before;
  });
}
