import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Load, orderViolations } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

test('no request is lost, and none is answered by an older release than one seen before, over 12 switches under load', async (t) => {
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
  // Each client has one request under way at most: of so many one was begun after the last switch.
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
