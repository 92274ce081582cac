import assert from 'node:assert/strict';
import { appendFile, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { appendEvent } from '../../src/apps/history.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const event = {
  at: '2026-01-02T03:04:05.000Z',
  by: 'local',
  action: 'deploy',
  app: 'shop',
  environment: 'production',
};

test('the history has one line for each event, and only its owner can read it', async (t) => {
  const path = join(await temporaryDirectory(t), 'events.jsonl');
  await Promise.all([1, 2, 3].map((release) => appendEvent(path, { ...event, release, outcome: 'live' })));
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const releases = lines.map((line) => JSON.parse(line).release).sort();
  assert.deepEqual(releases, [1, 2, 3]);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('an incomplete line after a crash does not affect the next line', async (t) => {
  const path = join(await temporaryDirectory(t), 'events.jsonl');
  await appendEvent(path, { ...event, outcome: 'live' });
  await appendFile(path, '{"at":"2026-01-0');
  await appendEvent(path, { ...event, outcome: 'failed', code: 'build_failed' });
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  assert.equal(lines.length, 3);
  assert.equal(JSON.parse(lines[2] ?? '').code, 'build_failed');
});
