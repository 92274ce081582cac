import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { BuildLog } from '../../src/deployments/build-log.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('lines that wait to be written take little more memory than their text', async (t) => {
  const path = join(await temporaryDirectory(t), 'build.log');
  const log = new BuildLog(path, (error) => assert.fail(String(error)));
  const before = process.memoryUsage();
  for (let line = 0; line < 500_000; line += 1) log.write(`line ${line}`);
  const { heapUsed, external } = process.memoryUsage();
  const grown = heapUsed + external - before.heapUsed - before.external;
  await log.end();
  const text = await readFile(path, 'utf8');
  assert.equal(text.split('\n').length, 500_001);
  assert.ok(grown < 10 * text.length, `${grown} bytes for ${text.length}`);
});
