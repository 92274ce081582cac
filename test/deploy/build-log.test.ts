import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { BuildLog } from '../../src/deploy/build-log.ts';
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

test('a build log is cut if a build prints too much, but steps and notices stay in it', async (t) => {
  const path = join(await temporaryDirectory(t), 'build.log');
  const log = new BuildLog(path, (error) => assert.fail(String(error)));
  const line = 'x'.repeat(1023);
  for (let number = 0; number < 40_000; number += 1) log.offer(line);
  log.write('failed: it printed too much');
  await log.end();
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  assert.ok(lines.length > 32_000 && lines.length < 33_000, `${lines.length} lines`);
  assert.match(lines.at(-2) ?? '', /more output is left out: a build log has at most 32 MiB/);
  assert.equal(lines.at(-1), 'failed: it printed too much');
});
