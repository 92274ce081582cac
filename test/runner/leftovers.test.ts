import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { endLeftoversOfEarlier } from '../../src/runner/jobs/leftovers.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { temporaryDirectory } from '../support/temporary.ts';

for (const kind of ['worker', 'background', 'keeper', 'job'] as const) {
  test(`the record of a ${kind} of an earlier runner is removed when the process has ended`, async (t) => {
    const records = new ProcessRecords(await temporaryDirectory(t));
    const child = spawn('sleep', ['60'], { detached: true });
    t.after(() => child.kill('SIGKILL'));
    const pid = child.pid as number;
    records.add(kind, 'shop', pid);
    const ended = endLeftoversOfEarlier(
      await records.all(),
      records,
      () => undefined,
      () => undefined,
    );
    assert.equal(records.get(pid)?.kind, kind);
    child.kill('SIGKILL');
    await once(child, 'exit');
    // Nothing else keeps this process up.
    const alive = setInterval(() => undefined, 1000);
    await ended;
    clearInterval(alive);
    assert.equal(records.get(pid), undefined);
  });
}

test('the record of a later process with the same pid stays', async (t) => {
  const records = new ProcessRecords(await temporaryDirectory(t));
  records.add('worker', 'shop', process.pid);
  const [record] = await records.all();
  assert.ok(record);
  records.forget({ ...record, startTime: '1' });
  assert.equal(records.get(process.pid)?.kind, 'worker');
});
