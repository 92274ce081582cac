import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { JobResult } from '../../src/protocol/runner.ts';
import { describeResult } from '../../src/runner/schedule/cron-action.ts';
import { CronResults, cutOff } from '../../src/runner/schedule/cron-results.ts';

const done: JobResult = { code: 0, signal: null, timedOut: false, durationMs: 10 };

async function makeFile(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-cron-'));
  t.after(() => rm(directory, { recursive: true }));
  return join(directory, 'cron.json');
}

test('the result of a command names the cause of its end', () => {
  const describe = (result: Partial<JobResult>, isStopped = false) =>
    describeResult({ ...done, ...result }, 2000, isStopped);
  assert.deepEqual(describe({}), { outcome: 'done', detail: 'exit status 0' });
  assert.deepEqual(describe({ code: 3 }), { outcome: 'failed', detail: 'exit status 3' });
  assert.deepEqual(describe({ code: null, signal: 'SIGSEGV' }), {
    outcome: 'failed',
    detail: 'ended by SIGSEGV',
  });
  assert.equal(describe({ left: 2 }).detail, 'exit status 0, and left 2 processes running, now killed');
  const killed = { code: null, signal: 'SIGKILL', killedAfter: 3000 } as const;
  assert.match(
    describe({ ...killed, timedOut: true }).detail,
    /^ended after 2\.0 s \("timeout"\), by SIGKILL: /,
  );
  assert.match(describe(killed, true).detail, /^ended because the app or Sluice was stopped, by SIGKILL: /);
  const shortage = { of: 'memory', limit: 1024 ** 2 } as const;
  assert.equal(
    describe({ code: 137, shortage }).detail,
    'ended by the memory limit of 1.0 MiB ("memoryLimit")',
  );
});

test('results outlive the runner, and a run that was under way has failed', async (t) => {
  const path = await makeFile(t);
  const at = '2026-01-01T00:00:00.000Z';
  const first = new CronResults(() => path, assert.fail);
  first.begin('report', at);
  first.set('report', { at, durationMs: 0, outcome: 'skipped', detail: 'the last run had not ended' });
  const done = { at, durationMs: 5, outcome: 'done', detail: 'exit status 0' } as const;
  first.end(first.begin('report', at), done);
  first.end(first.begin('mail', at), done);
  const second = new CronResults(() => path, assert.fail);
  assert.deepEqual(second.interrupted, ['report']);
  assert.equal(second.get('mail')?.outcome, 'done');
  assert.deepEqual(second.get('report'), { at, durationMs: 0, outcome: 'failed', detail: cutOff });
  assert.deepEqual(new CronResults(() => path, assert.fail).interrupted, []);
});

test('results that cannot be read or written are logged, and links are not followed', async (t) => {
  const path = await makeFile(t);
  const logged: string[] = [];
  const log = (message: string) => void logged.push(message);
  await writeFile(`${path}.other`, '{}');
  await symlink(`${path}.other`, path);
  const results = new CronResults(() => path, log);
  assert.match(logged.pop() ?? '', /^the results of cron entries cannot be read: ELOOP/);
  const broken = new CronResults(() => join(path, 'missing', 'file'), log);
  broken.set('mail', { at: '', durationMs: 0, outcome: 'done', detail: '' });
  assert.match(logged.pop() ?? '', /^the result of mail was not stored: /);
  results.set('mail', { at: '', durationMs: 0, outcome: 'done', detail: '' });
  assert.deepEqual((await readdir(join(path, '..'))).sort(), ['cron.json', 'cron.json.other']);
});
