import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { openLog } from '../../src/server/up.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a log above 10 MiB is renamed at the start, and a smaller one is appended to', async (t) => {
  const directory = await temporaryDirectory(t);
  const path = `${directory}/sluice.log`;
  const start = () => closeSync(openLog(path));

  start();
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await truncate(path, 10 * 1024 ** 2);
  start();
  assert.deepEqual(await readdir(directory), ['sluice.log']);

  await writeFile(`${path}.1`, 'the one before');
  await writeFile(path, 'x'.repeat(10 * 1024 ** 2 + 1));
  start();
  assert.equal((await stat(`${path}.1`)).size, 10 * 1024 ** 2 + 1);
  assert.equal(await readFile(path, 'utf8'), '');
});
