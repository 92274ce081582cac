import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatDuration } from '../../src/system/text/format.ts';

test('a duration has the unit that it is rounded to', () => {
  const told = [0, 12.4, 999.4, 999.6, 1500, 9949, 9951, 59_400, 59_600, 90_000, 119_600, 3_600_000];
  assert.deepEqual(told.map(formatDuration), [
    ...['0 ms', '12 ms', '999 ms', '1.0 s', '1.5 s', '9.9 s', '10 s', '59 s'],
    ...['1 min 0 s', '1 min 30 s', '2 min 0 s', '60 min 0 s'],
  ]);
});

test('a number of bytes has the unit that it is rounded to', () => {
  const [kilo, mega] = [1024, 1024 ** 2];
  const told = [0, 1023, kilo, 1.5 * kilo, 9.96 * kilo, 1023.6 * kilo, 300 * mega, 4096 * 1024 ** 4];
  assert.deepEqual(told.map(formatBytes), [
    ...['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '10 KiB', '1.0 MiB', '300 MiB', '4096 TiB'],
  ]);
});
