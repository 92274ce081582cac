import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { EnvironmentStatus, GenerationSpec } from '../../src/protocol/runner.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { fetchText } from '../support/http.ts';
import { Load } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const settings = { keepWarm: '60s', workers: 2 };

async function statusOf(runner: TestRunner): Promise<EnvironmentStatus> {
  const [status] = await runner.client.call('status', {});
  assert.ok(status);
  return status;
}

async function pids(runner: TestRunner): Promise<number[]> {
  const { workers, active } = await statusOf(runner);
  return workers.filter(({ generation }) => generation === active?.generation).map(({ pid }) => pid);
}

/** Starts two releases, so that the first one is on standby. */
async function twoReleases(t: TestContext, script = 'plain.cjs', more: object = {}) {
  const runner = await TestRunner.start(t);
  const first = runner.spec(script, { ...settings, ...more });
  await runner.release(first);
  const formerPids = await pids(runner);
  const second = runner.spec(script, { ...settings, ...more });
  await runner.release(second);
  return { runner, first, second, formerPids };
}

test('a rollback to a release on standby starts no process, and loses no request', async (t) => {
  const { runner, first, second, formerPids } = await twoReleases(t);
  const load = new Load(runner.port, 24);
  t.after(() => load.stop());
  const answered = async (more: number) => {
    const before = load.answered;
    await waitFor(() => load.answered > before + more, { what: 'the load' });
  };
  const secondPids = await pids(runner);
  for (const [spec, expected] of [
    [first, formerPids],
    [second, secondPids],
    [first, formerPids],
  ] as const) {
    await answered(100);
    const switched = await runner.release(spec);
    const at = performance.now();
    assert.equal(switched.wasWarm, true);
    assert.deepEqual(await pids(runner), expected);
    await waitFor(() => load.answeringSince(at).length >= expected.length, {
      what: 'answers of both workers',
    });
    await answered(100);
    assert.deepEqual(
      load.answeringSince(at),
      [...expected].sort((a, b) => a - b),
    );
  }
  const { errors } = await load.stop();
  assert.deepEqual(errors, []);
  const { standby } = await statusOf(runner);
  assert.equal(standby?.release, second.release);
  assert.equal(standby?.workers, 2);
});

test('only the same release with the same variables, settings and Node.js opens from standby', async (t) => {
  const { runner, first, formerPids } = await twoReleases(t);
  const changed: GenerationSpec = { ...first, env: { ...first.env, COLOUR: 'blue' } };
  const switched = await runner.release(changed);
  assert.equal(switched.wasWarm, undefined);
  assert.ok((await pids(runner)).every((pid) => !formerPids.includes(pid)));
});

test('workers on standby end after "keepWarm", at a stop, and if one of them dies', async (t) => {
  const gone = (list: number[]) =>
    waitFor(() => list.every((pid) => processStartTime(pid) === undefined), { what: 'the end of workers' });
  const short = await twoReleases(t, 'plain.cjs', { keepWarm: 300 });
  await gone(short.formerPids);
  assert.equal((await statusOf(short.runner)).standby, null);

  const { runner, first, second, formerPids } = await twoReleases(t);
  process.kill(formerPids[0] ?? 0, 'SIGKILL');
  await waitFor(async () => (await statusOf(runner)).standby === null);
  await gone(formerPids);
  const log = readFileSync(`${first.log.directory}/app.log`, 'utf8');
  assert.match(log, /release 1 is no longer on standby: one of its workers has ended or has a fault/);

  const activePids = await pids(runner);
  await runner.release(first);
  assert.equal((await statusOf(runner)).standby?.release, second.release);
  await runner.client.call('stop', { key: 'shop' });
  await gone(activePids);
});

test('"drainTimeout" cuts a stream of a release on standby, and its worker stays', async (t) => {
  const runner = await TestRunner.start(t);
  const first = runner.spec('plain.cjs', { ...settings, workers: 1, drainTimeout: 300 });
  await runner.release(first);
  const [pid] = await pids(runner);
  const stream = await fetch(`http://127.0.0.1:${runner.port}/stream`);
  await runner.release(runner.spec('plain.cjs', { ...settings, workers: 1 }));
  await assert.rejects(stream.text());
  const log = () => readFileSync(`${first.log.directory}/app.log`, 'utf8');
  await waitFor(() => /cuts GET \/stream: not answered .* \("drainTimeout"\)/.test(log()));
  await runner.release(first);
  assert.deepEqual(await pids(runner), [pid]);
  assert.equal((await fetchText(runner.port, '/')).body, String(first.release));
});

test('a rollback does not cut the requests that the release on standby still answers', async (t) => {
  const { runner, first } = await twoReleases(t, 'plain.cjs', { drainTimeout: 1000, workers: 1 });
  const stream = await fetch(`http://127.0.0.1:${runner.port}/stream`);
  const second = runner.spec('plain.cjs', { ...settings, workers: 1 });
  await runner.release(first);
  // The stream is on the second release, which drains; a stream of the first one continues over two switches.
  const own = await fetch(`http://127.0.0.1:${runner.port}/stream`);
  await runner.release(second);
  await runner.release(first);
  await assert.rejects(stream.text());
  assert.equal(await own.text(), `${first.release}\n`.repeat(10));
});

test('a rollback that fails before its switch puts the release back on standby, and cuts no request', async (t) => {
  const runner = await TestRunner.start(t);
  const first = runner.spec('plain.cjs', { ...settings, workers: 1, drainTimeout: '30s' });
  await runner.release(first);
  const own = await fetch(`http://127.0.0.1:${runner.port}/stream`);
  await runner.release(runner.spec('plain.cjs', { ...settings, workers: 1 }));
  const until = (await statusOf(runner)).standby?.until ?? '';
  const { generation, wasWarm } = await runner.boot(first);
  assert.equal(wasWarm, true);
  await runner.client.call('discard', { key: 'shop', generation });
  const { standby } = await statusOf(runner);
  assert.equal(standby?.release, first.release);
  // Both are computed from a clock of their own.
  assert.ok(Math.abs(Date.parse(standby.until) - Date.parse(until)) < 100);
  await rename(first.paths.generation, `${first.paths.generation}.aside`);
  await mkdir(`${first.paths.generation}/full`, { recursive: true });
  await assert.rejects(runner.release(first));
  await rm(first.paths.generation, { recursive: true });
  assert.equal((await statusOf(runner)).standby?.release, first.release);
  assert.equal(await own.text(), `${first.release}\n`.repeat(10));
  assert.equal((await runner.release(first)).wasWarm, true);
});

test('a rollback opens a server on standby that only listens to its clients', async (t) => {
  const runner = await TestRunner.start(t);
  const script = join(runner.paths.home, 'silent.cjs');
  await writeFile(
    script,
    "require('node:net').createServer((s) => s.on('error', () => 0)).listen(process.env.PORT)",
  );
  const silent = () => ({ ...runner.spec('plain.cjs', { ...settings, workers: 1 }), script });
  const first = silent();
  await runner.release(first);
  await runner.release(silent());
  assert.equal((await runner.release(first)).wasWarm, true);
});

test('a release that crashes right after its switch leaves the release before on standby', async (t) => {
  const runner = await TestRunner.start(t);
  const doom = join(runner.paths.home, 'doom');
  const first = runner.spec('plain.cjs', settings);
  await runner.release(first);
  await runner.release(
    runner.spec('faulty.cjs', { ...settings, maxRestarts: 1, minUptime: '60s' }, { DOOM: doom }),
  );
  await writeFile(doom, 'after');
  await waitFor(async () => (await statusOf(runner)).state === 'crashed', { what: 'the crash' });
  assert.equal((await runner.release(first)).wasWarm, true);
});

test('workers on standby end with their runner, and never serve again', async (t) => {
  const { runner, formerPids, second } = await twoReleases(t);
  const activePids = await pids(runner);
  await runner.kill();
  await waitFor(() => formerPids.every((pid) => processStartTime(pid) === undefined));
  assert.equal((await fetchText(runner.port, '/')).body, String(second.release));
  assert.ok(activePids.every((pid) => processStartTime(pid) !== undefined));
});
