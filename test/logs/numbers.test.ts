import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { rotatedNumbers } from '../../src/logs/numbers.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a rotated file that is about to be made, and empty until then, is not there yet', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeFile(join(directory, 'app.log.1.gz'), 'packed');
  await writeFile(join(directory, 'app.log.2'), 'text');
  await writeFile(join(directory, 'app.log.3'), '');
  assert.deepEqual(await rotatedNumbers(directory), [1, 2]);
  assert.deepEqual(await rotatedNumbers(directory, 2), []);
  await writeFile(join(directory, 'app.log.3'), 'text');
  assert.deepEqual(await rotatedNumbers(directory, 2), [3]);
});
