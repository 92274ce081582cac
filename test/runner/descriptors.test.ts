import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { AppError } from '../../src/errors/app-error.ts';
import { AppLogs } from '../../src/logs/app-logs.ts';
import { Outputs } from '../../src/runner/output/outputs.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const run = promisify(execFile);
const onLinux = { skip: process.platform !== 'linux' };

test('a deploy with too few file descriptors left fails with out_of_descriptors, and keeps none open', {
  ...onLinux,
  timeout: 240_000,
}, async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  // Only the soft limit is lowered; the hard limit belongs to the machine.
  const limitTo = (limit: number) => run('prlimit', [`--pid=${runner.process.pid}`, `--nofile=${limit}:`]);
  const { descriptors, maxDescriptors } = await runner.client.call('usage', {});
  assert.ok(descriptors !== null && maxDescriptors !== null && descriptors < 200 && maxDescriptors > 200);
  const failures: string[] = [];
  const port = await freePort();
  for (let spare = 0; spare < 80; spare += 1) {
    const spec = runner.spec('plain.cjs', { workers: 1 }, { PORT: String(port) });
    await limitTo(descriptors + spare);
    const outcome = await runner.boot({ ...spec, key: 'other', port }).catch((error: unknown) => error);
    await limitTo(maxDescriptors);
    if (!(outcome instanceof Error)) break;
    failures.push(outcome instanceof AppError ? outcome.code : String(outcome));
    await waitFor(async () => ((await runner.client.call('usage', {})).descriptors ?? 0) <= descriptors, {
      what: 'the end of what the deploy had opened',
    });
  }
  t.diagnostic(`${failures.length} deploys failed`);
  assert.ok(failures.length > 5, 'the limit made deploys fail');
  assert.deepEqual(new Set(failures), new Set(['out_of_descriptors']));
  assert.equal((await fetchText(runner.port)).body, '1');
});

test('outputs that the children of ended processes hold open do not pile up', onLinux, async (t) => {
  const { outputs, log, directory } = await setUp(t);
  const count = 40;
  const held: number[] = [];
  t.after(() => held.map((fd) => closeSync(fd)));
  await Promise.all(
    Array.from({ length: count }, async () => {
      const output = await outputs.open(log, { release: 1, process: 'web.0' });
      held.push(...output.open());
      output.capture();
      await output.processEnded();
    }),
  );
  await waitFor(() => outputs.descriptors(log.directory) <= 32, { what: 'the end of the oldest' });
  assert.equal(outputs.descriptors(log.directory), 32);
  const fifos = await readdir(directory);
  assert.equal(fifos.filter((name) => name.endsWith('.out')).length, 16);
  assert.equal(outputs.descriptors('of another app'), 0);
});

async function setUp(t: TestContext) {
  const home = await temporaryDirectory(t);
  const logs = new AppLogs(
    async () => [],
    (what, error) => assert.fail(`${what}: ${error}`),
  );
  const outputs = new Outputs(join(home, 'outputs'), logs, (message) => assert.fail(message));
  t.after(async () => {
    await outputs.stop();
    await logs.closeAll();
  });
  const log = {
    directory: join(home, 'logs'),
    size: 1024 ** 2,
    schedule: '0 0 * * *',
    keep: 2,
    maxBytes: 1024 ** 3,
    overflow: 'wait' as const,
    secrets: [],
  };
  return { outputs, log, directory: join(home, 'outputs') };
}
