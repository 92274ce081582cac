import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSince } from '../../src/config/since.ts';

const now = new Date('2026-01-31T12:00:00.000Z');
const utc = (text: string) => parseSince(text, now, 'UTC')?.toISOString();

test('a time is a duration before now, or a date with an optional time', () => {
  assert.equal(utc('30s'), '2026-01-31T11:59:30.000Z');
  assert.equal(utc('10m'), '2026-01-31T11:50:00.000Z');
  assert.equal(utc('2h'), '2026-01-31T10:00:00.000Z');
  assert.equal(utc('1d'), '2026-01-30T12:00:00.000Z');
  assert.equal(utc('2026-01-30'), '2026-01-30T00:00:00.000Z');
  assert.equal(utc('2026-01-30T08:00'), '2026-01-30T08:00:00.000Z');
  assert.equal(utc('2026-01-30 08:00:01.5+02:00'), '2026-01-30T06:00:01.500Z');
  const local = parseSince('2026-01-30 08:00', now, 'local');
  assert.deepEqual([local?.getHours(), local?.getDate()], [8, 30]);
});

test('other text is invalid', () => {
  for (const text of [
    '',
    'yesterday',
    '10',
    '10x',
    '-1h',
    '1.5h',
    '2026-13-01',
    '2026-02-30',
    '2026-01-30T25:00',
    '999999999d',
  ]) {
    assert.equal(utc(text), undefined, text);
  }
});
