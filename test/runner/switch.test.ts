import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { Load, orderViolations } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

test('12 switches under load lose no request, and no client gets the old release after the new one', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const load = new Load(runner.port, 32);
  t.after(() => load.stop());
  const pauses: number[] = [];
  for (let switches = 0; switches < 12; switches += 1) {
    const before = load.answered;
    await waitFor(() => load.answered > before + 200, { what: 'the load' });
    pauses.push((await runner.release(runner.spec('plain.cjs'))).pauseMs);
  }
  // Each client has at most one request in flight, so one of these began after the last switch.
  const before = load.answered;
  await waitFor(() => load.answered > before + 32, { what: 'answers of the last release' });
  const report = await load.stop();
  t.diagnostic(
    `${report.samples.length} requests; pauses of ${pauses.map((pause) => pause.toFixed(1)).join(', ')} ms`,
  );
  assert.deepEqual(report.errors, []);
  assert.deepEqual(orderViolations(report), []);
  assert.equal(Math.max(...report.samples.map(({ mark }) => mark)), 13);
});

test('after switches that cannot be written to disk, the old release answers as before, and the next switch drains it (thorough)', async (t) => {
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
  // Once a client has the head of an answer, no other worker can answer the request.
  const stream = () => fetch(`http://127.0.0.1:${runner.port}/stream`);
  const underWay = await Promise.all(Array.from({ length: 10 }, stream));
  await runner.client.call('switch', { key: 'shop', generation });
  for (const answer of underWay) assert.equal(await answer.text(), '1\n'.repeat(10));
});

/** Puts a directory at a path, so that no file can be renamed to it. @returns a function that removes the directory */
function obstruct(path: string): () => void {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(join(path, 'obstacle'), { recursive: true });
  return () => rmSync(path, { recursive: true });
}

function soon(): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(3000) };
}
