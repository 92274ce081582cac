import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { WorkerStatus } from '../../src/protocol/runner.ts';
import { ownCgroup } from '../../src/runner/cgroups/find.ts';
import { noLimits } from '../support/cgroups.ts';
import { freePort } from '../support/free-port.ts';
import { Load, orderViolations } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const skip = noLimits();
const megabyte = 1024 ** 2;

/** Starts a runner in a cgroup with little memory. */
async function onSmallMachine(t: TestContext): Promise<{ runner: TestRunner; leave(bytes: number): void }> {
  const place = ownCgroup('memory');
  const group = join(place?.mount ?? '', place?.path ?? '', `sluice-small-${process.pid}-${Date.now()}`);
  const runner = await TestRunner.start(t);
  t.after(async () => {
    await runner.stop();
    // Ended processes leave the cgroup a moment later.
    await waitFor(() => readFileSync(join(group, 'cgroup.procs'), 'utf8') === '');
    rmdirSync(group);
  });
  mkdirSync(group);
  await runner.leave();
  await runner.launch({}, group);
  const leave = (bytes: number) => {
    const used = Number(readFileSync(join(group, 'memory.usage_in_bytes'), 'utf8'));
    const stat = readFileSync(join(group, 'memory.stat'), 'utf8');
    const cache = Number(/^total_inactive_file (\d+)$/m.exec(stat)?.[1]);
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(used - cache + bytes));
  };
  return { runner, leave };
}

async function open(runner: TestRunner): Promise<WorkerStatus[]> {
  const [target] = await runner.client.call('status', {});
  return target?.workers.filter(({ state }) => state === 'open') ?? [];
}

test('a low-memory switch keeps the order of answers and loses no request', {
  skip,
}, async (t) => {
  const { runner, leave } = await onSmallMachine(t);
  await runner.release(runner.spec('plain.cjs', { workers: 2 }));
  const load = new Load(runner.port, 12);
  t.after(() => load.stop());
  await waitFor(() => load.answered > 200);
  // Enough for one new worker, and for the growth of the old one under load; not for two new workers.
  leave(125 * megabyte);
  const spec = runner.spec('plain.cjs', { workers: 2 });
  const lines: string[] = [];
  const { generation } = await runner.boot(spec, (line) => lines.push(line));
  assert.match(
    lines[0] ?? '',
    /^memory is short: \d+ MiB available, and the live release takes \d+ MiB; low-memory switch: 1 of 2 old workers end before 1 of 2 new workers start$/,
  );
  assert.equal((await open(runner)).length, 1);
  await runner.client.call('switch', { key: spec.key, generation });
  await waitFor(
    async () => (await open(runner)).filter((worker) => worker.generation === generation).length === 2,
  );
  const report = await load.stop();
  assert.deepEqual(report.errors, []);
  assert.deepEqual(orderViolations(report), []);
  t.diagnostic(`${report.samples.length} requests`);
});

test('releases of other apps on standby end before a build and before a low-memory switch', {
  skip,
}, async (t) => {
  const { runner, leave } = await onSmallMachine(t);
  const port = await freePort();
  const other = () => {
    const spec = runner.spec('plain.cjs', { workers: 4, keepWarm: '60s' }, { PORT: String(port) });
    return { ...spec, key: 'other', port };
  };
  const standby = async () => {
    const all = await runner.client.call('status', {});
    return all.find(({ key }) => key === 'other')?.standby?.release;
  };
  const [first, second] = [other(), other()];
  await runner.release(first);
  await runner.release(second);
  await runner.release(runner.spec('plain.cjs', { workers: 2 }));
  assert.equal(await standby(), first.release);
  leave(500 * megabyte);
  const job = {
    argv: ['true'] as [string],
    directory: '/',
    env: {},
    lowPriority: true,
    user: null,
    timeout: 5000,
  };
  const limits = { key: 'shop', memory: null, processes: null, cpuWeight: 100 };
  await runner.client.call('job', { job, limits: { ...limits, memory: 100 * megabyte } });
  assert.equal(await standby(), first.release);
  await runner.client.call('job', { job, limits });
  assert.equal(await standby(), undefined);

  await runner.release(other());
  assert.equal(await standby(), second.release);
  leave(110 * megabyte);
  const lines: string[] = [];
  await runner.boot(runner.spec('plain.cjs', { workers: 2 }), (line) => lines.push(line));
  assert.equal(await standby(), undefined);
  assert.deepEqual(
    lines.filter((line) => line.startsWith('memory')),
    [],
  );
});

test('an app gets its workers back if the new release of a low-memory switch fails to start (thorough)', {
  skip,
}, async (t) => {
  const { runner, leave } = await onSmallMachine(t);
  const { generation } = await runner.release(runner.spec('plain.cjs', { workers: 2 }));
  leave(90 * megabyte);
  await assert.rejects(runner.boot(runner.spec('broken.cjs', { workers: 2 })), { code: 'boot_exited' });
  await waitFor(async () => (await open(runner)).length === 2);
  assert.ok((await open(runner)).every((worker) => worker.generation === generation));
});

test('the report names an app whose single worker cannot take a low-memory switch (thorough)', {
  skip,
}, async (t) => {
  const { runner, leave } = await onSmallMachine(t);
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  leave(50 * megabyte);
  const lines: string[] = [];
  await runner.boot(runner.spec('plain.cjs', { workers: 1 }), (line) => lines.push(line));
  assert.match(
    lines[0] ?? '',
    /with a single worker, a low-memory switch is not possible, so both releases run at once$/,
  );
});
