import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { FailingDisk, type Fault } from '../support/failing-disk.ts';
import { fetchText } from '../support/http.ts';
import { workersOfHome } from '../support/processes.ts';
import { TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

async function start(t: TestContext): Promise<{ runner: TestRunner; disk: FailingDisk }> {
  const disk = new FailingDisk(await temporaryDirectory(t));
  return { runner: await TestRunner.start(t, disk.env), disk };
}

async function workersOf(runner: TestRunner) {
  return (await runner.client.call('status', {})).flatMap(({ workers }) => workers);
}

async function recordedWorkers({ paths }: TestRunner): Promise<number[]> {
  const records = await new ProcessRecords(paths.processes).alive();
  return records.filter(({ kind }) => kind === 'worker').map(({ pid }) => pid);
}

for (const code of ['ENOSPC', 'EROFS', 'EIO'] as const) {
  test(`a worker whose record cannot be written (${code}) does not run, and starts when the record can be written${thorough(code !== 'ENOSPC')}`, async (t) => {
    const { runner, disk } = await start(t);
    await runner.release(runner.spec('plain.cjs', { workers: 1, restartDelay: 100 }));
    const [before] = await workersOf(runner);
    await disk.fail({ process: 'runner', code, from: 1, lasts: true, path: '/processes/' });

    const refused = code === 'ENOSPC' ? 'disk_full' : 'disk_unwritable';
    await assert.rejects(runner.boot(runner.spec('plain.cjs')), { code: refused });
    process.kill(before?.pid ?? 0, 'SIGKILL');
    await waitFor(() => runner.output.includes('was not started: worker 0 could not be started: the disk'));
    await waitFor(async () => (await workersOfHome(runner.paths.home)).length === 0, { what: 'no worker' });

    await disk.mend();
    await waitFor(async () => (await workersOf(runner)).some(({ state }) => state === 'open'));
    assert.equal((await fetchText(runner.port)).body, '1');
    assert.deepEqual(await workersOfHome(runner.paths.home), await recordedWorkers(runner));
  });
}

test('a worker without a record ends by itself when another release is live', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const [unknown, known] = await workersOfHome(runner.paths.home);
  await runner.kill();
  await rm(join(runner.paths.processes, `${unknown}.json`));
  await runner.launch();
  await runner.release(runner.spec('plain.cjs'));
  const old = async () =>
    (await workersOfHome(runner.paths.home)).filter((pid) => pid === unknown || pid === known);
  await waitFor(async () => (await old()).length === 0, { what: 'the end of both', timeout: 20_000 });
  for (let asked = 0; asked < 20; asked += 1) assert.equal((await fetchText(runner.port)).body, '2');
});

const states: Pick<Fault, 'code' | 'lasts'>[] = (['ENOSPC', 'EROFS', 'EIO'] as const).flatMap((code) =>
  [true, false].map((lasts) => ({ code, lasts })),
);

for (const { code, lasts } of states) {
  test(`a switch that the disk refuses at any write (${code}${lasts ? ', from then on' : ''}) leaves the live release and no files${thorough(code !== 'ENOSPC' || lasts)}`, async (t) => {
    const { runner, disk } = await start(t);
    const quick = { workers: 1, settleTime: 0 };
    await runner.release(runner.spec('plain.cjs', quick));
    const directory = join(runner.paths.apps, 'shop/production');
    let live = '1';
    for (let from = 1; ; from += 1) {
      const spec = runner.spec('plain.cjs', quick);
      const { generation } = await runner.boot(spec);
      await disk.fail({ process: 'runner', code, from, lasts, path: directory });
      const outcome = await runner.client.call('switch', { key: spec.key, generation }).then(
        () => 'switched',
        (error: { code: string }) => error.code,
      );
      const failed = await disk.failed();
      await disk.mend();
      assert.ok(['switched', 'switch_failed'].includes(outcome), `${outcome} at ${JSON.stringify(failed)}`);
      if (outcome === 'switched') live = spec.env['MARK'] ?? '';
      for (let asked = 0; asked < 5; asked += 1) assert.equal((await fetchText(runner.port)).body, live);
      if (failed.length === 0) break;
    }
    // A file that the disk refused to remove is removed before the next switch.
    await runner.release(runner.spec('plain.cjs'));
    assert.deepEqual((await readdir(directory)).sort(), ['current', 'generation', 'logs']);
    assert.deepEqual(runner.process.exitCode, null);
  });
}

test('if the disk refuses the results of cron runs, the results stay in memory and leave no file (thorough)', async (t) => {
  const { runner, disk } = await start(t);
  const cron = [{ name: 'tidy', schedule: '* * * * * *', command: 'true' }];
  await runner.release(runner.spec('plain.cjs', { workers: 1, cron }));
  const path = join(runner.paths.apps, 'shop/production/cron.json');
  const last = async () => (await runner.client.call('status', {}))[0]?.cron[0]?.last?.at ?? '';
  for (const code of ['ENOSPC', 'EROFS', 'EIO'] as const) {
    const before = await last();
    await disk.fail({ process: 'runner', code, from: 1, lasts: true, path });
    await waitFor(async () => (await disk.failed()).length > 1 && (await last()) > before, { what: 'a run' });
    await disk.mend();
  }
  const names = async () => readdir(join(runner.paths.apps, 'shop/production'));
  await waitFor(async () => {
    const files = await names();
    return files.includes('cron.json') && !files.includes('cron.json.new');
  });
});
