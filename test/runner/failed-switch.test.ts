import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

/** Nothing can be renamed to where a directory is that has something in it. */
function obstruct(path: string): () => void {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(join(path, 'in the way'), { recursive: true });
  return () => rmSync(path, { recursive: true });
}

const soon = () => ({ signal: AbortSignal.timeout(3000) });

async function releases(runner: TestRunner): Promise<number[] | undefined> {
  return (await runner.client.call('status', {}))[0]?.workers.map(({ release }) => release);
}

test('after switches that could not be written down the old release answers as before, and the next one drains it', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '30s' }));
  for (let times = 0; times < 4; times += 1) {
    const spec = runner.spec('plain.cjs');
    const clear = obstruct(spec.paths.generation);
    await assert.rejects(runner.release(spec), { code: 'switch_failed' });
    clear();
    assert.equal((await fetchText(runner.port, '/', soon())).body, '1');
  }
  const answer = await fetchText(runner.port, '/', { headers: { connection: 'keep-alive' } });
  assert.equal(answer.headers.connection, 'keep-alive');

  const { generation } = await runner.boot(runner.spec('plain.cjs'));
  // Once there is a head of an answer, nobody else can take the request over.
  const stream = () => fetch(`http://127.0.0.1:${runner.port}/stream`);
  const underWay = await Promise.all(Array.from({ length: 10 }, stream));
  await runner.client.call('switch', { key: 'shop', generation });
  for (const answer of underWay) assert.equal(await answer.text(), '1\n'.repeat(10));
});

test('a switch that cannot be prepared leaves no worker behind', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const spec = runner.spec('plain.cjs');
  const nowhere = join(runner.paths.home, 'no such directory', 'generation');
  await assert.rejects(runner.release({ ...spec, paths: { ...spec.paths, generation: nowhere } }), {
    code: 'switch_failed',
  });
  assert.deepEqual(await releases(runner), [1, 1]);
});

test('a first switch that cannot read what an earlier runner has left leaves no worker behind', async (t) => {
  const runner = await TestRunner.start(t);
  const { generation } = await runner.boot(runner.spec('plain.cjs'));
  const { processes: records } = runner.paths;
  renameSync(records, `${records}.aside`);
  writeFileSync(records, '');
  await assert.rejects(runner.client.call('switch', { key: 'shop', generation }));
  rmSync(records);
  renameSync(`${records}.aside`, records);
  await waitFor(async () => ((await releases(runner)) ?? []).length === 0);
  await runner.release(runner.spec('plain.cjs'));
  assert.equal((await fetchText(runner.port, '/', soon())).body, '2');
});

test('a switch is made though the link for people cannot be replaced', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const spec = runner.spec('plain.cjs');
  obstruct(spec.paths.current);
  await runner.release(spec);
  assert.equal((await fetchText(runner.port, '/', soon())).body, '2');
  await waitFor(() => runner.output.includes('was not replaced'), { what: 'a line in the log' });
});

test('a new worker whose event loop stands still does not hold up the switch', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const { generation } = await runner.boot(runner.spec('plain.cjs'));
  const workers = (await runner.client.call('status', {}))[0]?.workers ?? [];
  const stuck = workers.find((worker) => worker.generation === generation && worker.instance === 1);
  process.kill(stuck?.pid ?? 0, 'SIGSTOP');
  await runner.client.call('switch', { key: 'shop', generation });
  assert.equal((await fetchText(runner.port, '/', soon())).body, '2');
  process.kill(stuck?.pid ?? 0, 'SIGCONT');
  await waitFor(async () =>
    (await runner.client.call('status', {}))[0]?.workers.every(({ state }) => state === 'open'),
  );
});
