import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { CronStatus, GenerationSpec } from '../../src/protocol/runner.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { formatDuration } from '../../src/system/text/format.ts';
import { appLog, linesOf } from '../support/app-log.ts';
import { Load } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

async function crons(runner: TestRunner): Promise<CronStatus[]> {
  return (await runner.client.call('status', {}))[0]?.cron ?? [];
}

/** A run of more than a second is due again meanwhile, so that a run is `skipped`. */
async function afterFirstRun(runner: TestRunner): Promise<CronStatus> {
  return waitFor(async () => {
    const [cron] = await crons(runner);
    return cron?.last && cron.last.outcome !== 'skipped' && cron;
  });
}

/** Makes an entry that runs each second, so that no test waits for a full minute. */
const always = '* * * * * *';

function withCron(runner: TestRunner, cron: object, env: Record<string, string> = {}): GenerationSpec {
  return runner.spec('plain.cjs', { workers: 1, cron: [{ name: 'tidy', schedule: always, ...cron }] }, env);
}

/** Command line that no other process on this machine has. */
const long = `sleep 1${process.pid}`;

/** Waits until a killed process is gone. */
function longAreGone(): Promise<unknown> {
  const listed = new RegExp(`^${long}$`, 'm');
  return waitFor(async () => !listed.test((await promisify(execFile)('ps', ['-eo', 'args'])).stdout), {
    what: `the end of ${long}`,
  });
}

async function output(spec: GenerationSpec, stream = 'out'): Promise<string[]> {
  return (await appLog(spec.log.directory))
    .filter((record) => record.process === 'cron.tidy' && record.stream === stream)
    .map(({ text }) => text);
}

test('a command runs at its time, in the release and with its variables; its output and its result are stored', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = withCron(
    runner,
    { command: 'echo "$WORD in $(basename "$PWD")"; echo oh >&2; exit 3' },
    { WORD: 'hello' },
  );
  await runner.release(spec);
  const cron = await afterFirstRun(runner);
  assert.deepEqual([cron.last?.outcome, cron.last?.detail], ['failed', 'exit status 3']);
  assert.ok(Date.parse(cron.nextRun ?? '') > Date.parse(cron.last?.at ?? ''));
  const took = formatDuration(cron.last?.durationMs ?? 0);
  await waitFor(async () => (await output(spec, 'sys')).includes(`failed: exit status 3, after ${took}`));
  assert.equal((await output(spec))[0], 'hello in apps');
  assert.equal((await output(spec, 'err'))[0], 'oh');
});

test('a cron entry sends a request to the app', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = withCron(runner, { request: 'POST /tidy' });
  await runner.release(spec);
  const cron = await afterFirstRun(runner);
  assert.deepEqual([cron.last?.outcome, cron.last?.detail], ['done', 'answered 200']);
});

test('a run is skipped while the last one has not ended, unless it may overlap (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const command = 'echo begin; sleep 60';
  const spec = withCron(runner, { command });
  await runner.release(spec);
  await waitFor(async () => (await output(spec, 'sys')).includes('skipped: the last run has not ended'));
  assert.deepEqual(await output(spec), ['begin']);
  assert.equal((await crons(runner))[0]?.running, true);

  const overlapping = withCron(runner, { command, overlap: true });
  await runner.release(overlapping);
  await waitFor(async () => (await output(overlapping)).length >= 3);
});

test('a command that times out is ended with its children (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = withCron(runner, { command: `${long} & ${long}`, timeout: '300ms' });
  await runner.release(spec);
  const cron = await afterFirstRun(runner);
  assert.deepEqual([cron.last?.outcome, cron.last?.detail], ['failed', 'ended after 300 ms ("timeout")']);
  await runner.client.call('stop', { key: 'shop' });
  await longAreGone();
});

test('a switch replaces the cron entries, and a stop removes them (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = withCron(runner, { command: 'echo first' });
  await runner.release(spec);
  await waitFor(async () => (await output(spec)).length > 0);
  await runner.release(withCron(runner, { command: 'echo second' }));
  await waitFor(async () => (await output(spec)).at(-1) === 'second');
  const switched = (await output(spec)).length;
  await waitFor(async () => (await output(spec)).length >= switched + 2);
  assert.ok((await output(spec)).slice(switched).every((line) => line === 'second'));
  await runner.client.call('stop', { key: spec.key });
  const lines = (await output(spec)).length;
  // The next time that it would have been due has gone by when another app's has come twice.
  const other = await TestRunner.start(t);
  const beside = withCron(other, { command: 'echo tick' });
  await other.release(beside);
  await waitFor(async () => (await output(beside)).length >= 2);
  assert.equal((await output(spec)).length, lines);
});

test('a command is ended with the runner or the app, and its children in other sessions too (thorough)', async (t) => {
  const command = `trap "" TERM; setsid ${long} & echo $$; while :; do sleep 1; done`;
  const isThere = async (pid: number) => (await processStartTime(pid)) !== undefined;
  const begun = async (runner: TestRunner) => {
    const spec = withCron(runner, { command });
    await runner.release(spec);
    return waitFor(async () => Number((await output(spec)).at(-1)) || undefined);
  };
  const stopped = await TestRunner.start(t);
  const pid = await begun(stopped);
  await stopped.client.call('stop', { key: 'shop' });
  assert.equal(await isThere(pid), false);
  const { logs } = stopped.paths.environment({ app: 'shop', environment: 'production' });
  const said = linesOf(await appLog(logs), 'cron.tidy', 'sys').at(-1);
  assert.match(
    said ?? '',
    /^failed: ended because the app .*by SIGKILL: it had not ended 3\.0 s after SIGTERM, after/,
  );

  const ended = await TestRunner.start(t);
  const other = await begun(ended);
  await ended.stop();
  assert.equal(await isThere(other), false);
  await longAreGone();
});

test('an app has at most 50 runs under way (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const cron = Array.from({ length: 60 }, (_, index) => ({
    ...{ name: `tidy-${index}`, schedule: always, command: 'sleep 600', overlap: true },
  }));
  const spec = runner.spec('plain.cjs', { workers: 1, cron });
  const { descriptors } = await runner.client.call('usage', {});
  await runner.release(spec);
  const skipped = async () => (await crons(runner)).filter(({ last }) => last?.outcome === 'skipped');
  await waitFor(async () => (await skipped()).length >= 10, { what: 'runs that are left out' });
  const running = (await crons(runner)).filter(({ running }) => running).length;
  assert.ok(running <= 50, `${running} entries run`);
  const detail = (await skipped())[0]?.last?.detail;
  assert.equal(detail, '50 runs of the app had not ended');
  const usage = await runner.client.call('usage', {});
  assert.ok((usage.descriptors ?? 0) - (descriptors ?? 0) < 150);
  await runner.client.call('stop', { key: 'shop' });
});

test('a run that was under way when the runner was killed has failed (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = withCron(runner, { command: 'echo begun; sleep 20' });
  await runner.release(spec);
  await waitFor(async () => (await output(spec)).length > 0);
  await runner.kill();
  await runner.launch();
  await runner.release(
    runner.spec('plain.cjs', { cron: [{ name: 'tidy', schedule: '0 0 1 1 *', command: 'true' }] }),
  );
  const [cron] = await crons(runner);
  assert.deepEqual([cron?.last?.outcome, cron?.last?.detail], ['failed', 'Sluice ended before the run did']);
  const said = async () =>
    linesOf(await appLog(spec.log.directory), 'cron.tidy', 'sys').filter((line) =>
      line.startsWith('failed: Sluice ended'),
    );
  await waitFor(async () => (await said()).length === 1);
});

test('cronRestart replaces all workers, and loses no request (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('plain.cjs', { workers: 2, cronRestart: '*/2 * * * * *' });
  await runner.release(spec);
  const load = new Load(runner.port, 8);
  t.after(() => load.stop());
  await waitFor(() => load.answered > 100, { what: 'the load' });
  const pids = async () => (await runner.client.call('status', {}))[0]?.workers.map(({ pid }) => pid) ?? [];
  const before = await pids();
  await waitFor(async () => {
    // Where a boot takes longer than two seconds, one is under way at any time.
    const now = await pids();
    return now.length > 0 && before.every((pid) => !now.includes(pid));
  });
  const since = performance.now();
  await waitFor(() => load.answeringSince(since).length > 0, { what: 'answers of the new ones' });
  const { errors } = await load.stop();
  assert.deepEqual(errors, []);
});
