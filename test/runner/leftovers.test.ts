import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { endLeftovers, endLeftoversOfEarlier, jobMark } from '../../src/runner/jobs/leftovers.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { identityOptions } from '../../src/runner/users/identity.ts';
import { usualPath } from '../../src/system/process/run.ts';
import { withoutRoot } from '../support/isolated.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

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

const chain = 'if [ $0 = 0 ]; then exec sleep 300; fi; exec setsid -f sh -c "$1" $(($0 - 1)) "$1"';
const other = { name: 'shop', uid: 61_234, gid: 61_234, home: '/' };

for (const [whose, user] of [['the same user', undefined] as const, ['another user', other] as const]) {
  test(`a process of ${whose} is ended although each one starts the next and ends at once`, {
    skip: user !== undefined && withoutRoot,
  }, async (t) => {
    for (let round = 0; round < 10; round += 1) {
      const mark = `chain-${process.pid}-${round}`;
      const options = identityOptions(user, { PATH: usualPath, [jobMark]: mark });
      const first = spawn('sh', ['-c', chain, '12', chain], { ...options, cwd: '/' });
      t.after(() => {
        for (const pid of markedBy(mark)) process.kill(pid, 'SIGKILL');
      });
      await once(first, 'exit');
      await endLeftovers({ pid: undefined, mark, user }, 0);
      assert.deepEqual(markedBy(mark), [], `round ${round}`);
    }
  });
}

for (const [whose, user] of [['the same user', undefined] as const, ['another user', other] as const]) {
  test(`a process of ${whose} that has no environment is not read again and again`, {
    skip: user !== undefined && withoutRoot,
  }, async (t) => {
    const bare = spawn('/bin/sleep', ['300'], { ...identityOptions(user, {}), env: {}, cwd: '/' });
    t.after(() => bare.kill('SIGKILL'));
    await waitFor(() => readFileSync(`/proc/${bare.pid}/cmdline`, 'utf8').startsWith('/bin/sleep'));
    const perSearch = user === undefined ? 'Timeout' : 'PROCESSWRAP';
    let searches = 0;
    const init = (_id: number, type: string) => {
      if (type === perSearch) searches += 1;
    };
    const hook = createHook({ init }).enable();
    t.after(() => hook.disable());
    await endLeftovers({ pid: undefined, mark: `none-${process.pid}`, user }, 0);
    // Other processes may be in `execve` at that moment.
    assert.ok(searches < 10, `${searches} searches`);
  });
}

function markedBy(mark: string): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Boolean);
  return pids.filter((pid) => environmentOf(pid).includes(`${jobMark}=${mark}\0`));
}

function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    return '';
  }
}
