import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { JobLimits, JobSpec } from '../../src/protocol/runner.ts';
import { ownCgroup } from '../../src/runner/cgroups/find.ts';
import { machineMemory, memoryForBuild } from '../../src/runner/cgroups/machine-memory.ts';
import { managesCgroups, noLimits } from '../support/cgroups.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const skip = noLimits();
const limits: JobLimits = { key: 'shop@staging', memory: 100 * 1024 ** 2, processes: 60, cpuWeight: 100 };

function shell(script: string): JobSpec {
  const env = { PATH: process.env['PATH'] ?? '' };
  return { argv: ['sh', '-c', script], directory: apps, env, lowPriority: true, user: null, timeout: 20_000 };
}

function start(t: TestContext): Promise<TestRunner> {
  return TestRunner.start(t, managesCgroups);
}

function buildGroups(controller: string): string[] {
  const { mount = '', path = '' } = ownCgroup(controller) ?? {};
  const own = readdirSync(join(mount, path)).filter((name) => /^sluice-[0-9a-f]{8}$/.test(name));
  return own
    .map((name) => join(mount, path, name, 'builds/app-shop@staging'))
    .filter((group) => existsSync(group));
}

const eats = `${process.execPath} -e 'const all = []; for (;;) all.push(Buffer.alloc(16 * 1024 ** 2, 1))'`;

test('a job that exceeds its memory limit is killed, and its result has the limit', { skip }, async (t) => {
  const runner = await start(t);
  // As npm does with the script that it runs: what is killed is a grandchild, and the job ends by itself.
  const job = shell(`${eats}; exit 3`);
  const result = await runner.client.call('job', { job, limits });
  assert.equal(result.code, 3);
  assert.deepEqual(result.shortage, { of: 'memory', limit: 100 * 1024 ** 2 });
});

test('a job without a memory limit gets the free memory of the machine', { skip }, async (t) => {
  const runner = await start(t);
  const result = await runner.client.call('job', {
    job: shell('exit 0'),
    limits: { ...limits, memory: null },
  });
  assert.equal(result.shortage, undefined);
  const megabyte = 1024 ** 2;
  const small = { total: 970 * megabyte, available: 600 * megabyte };
  assert.equal(memoryForBuild(small), 536 * megabyte);
  assert.equal(memoryForBuild({ ...small, available: 100 * megabyte }), 256 * megabyte);
  const memory = machineMemory();
  assert.ok(memory && memory.available > 0 && memory.available <= memory.total);
});

test('the result of a job that starts too many processes has the limit, and all of them end', {
  skip,
}, async (t) => {
  const runner = await start(t);
  let output = '';
  const script = 'i=0; while [ $i -lt 1000 ]; do setsid sleep 120 & echo $!; i=$((i+1)); done';
  const result = await runner.client.call(
    'job',
    { job: shell(script), limits },
    { onProgress: ({ text }) => (output += text) },
  );
  assert.notEqual(result.code, 0);
  assert.deepEqual(result.shortage, { of: 'processes', limit: 60 });
  const pids = output.split('\n').filter((line) => /^\d+$/.test(line));
  assert.ok(pids.length > 20);
  await waitFor(() => pids.every((pid) => !existsSync(`/proc/${pid}`)));
  await waitFor(() => buildGroups('pids').length === 0);
});

test('children that a job starts at once are in its cgroup', {
  skip,
}, async (t) => {
  const runner = await start(t);
  let output = '';
  const script = 'sleep 60 & until grep -q pids:.*builds /proc/$!/cgroup; do :; done; cat /proc/$!/cgroup';
  const job = { ...shell(script), lowPriority: false };
  await runner.client.call('job', { job, limits }, { onProgress: ({ text }) => (output += text) });
  for (const controller of ['memory', 'cpu', 'pids']) {
    assert.match(output, new RegExp(`:${controller}:.*/builds/app-shop@staging/job-`));
  }
});

test('the kernel kills builds first when memory runs out', async (t) => {
  const runner = await TestRunner.start(t);
  let output = '';
  const job = shell(
    `until [ "$(cat /proc/$$/oom_score_adj)" = 500 ]; do sleep 0.01; done; sh -c 'cat /proc/$$/oom_score_adj'`,
  );
  await runner.client.call('job', { job }, { onProgress: ({ text }) => (output += text) });
  assert.equal(output.trim(), '500');
  assert.equal(readFileSync(`/proc/${runner.process.pid}/oom_score_adj`, 'utf8').trim(), '0');
});
