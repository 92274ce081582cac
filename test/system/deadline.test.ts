import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { withDeadline } from '../../src/system/concurrency/deadline.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a message that came in time counts, although our event loop stood still beyond the deadline', async (t) => {
  const said = join(await temporaryDirectory(t), 'said');
  const child = spawn('sh', ['-c', 'echo here; touch "$0"', said], { stdio: ['ignore', 'pipe', 'inherit'] });
  const heard = withDeadline(once(child.stdout, 'data'), 100);
  const end = performance.now() + 300;
  while (performance.now() < end || !existsSync(said));
  assert.deepEqual(await heard, { timedOut: false, value: [Buffer.from('here\n')] });
});

test('a deadline passes after its time', async () => {
  assert.deepEqual(await withDeadline(new Promise(() => undefined), 50), { timedOut: true });
});
