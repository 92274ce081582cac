import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { endLeftovers, endLeftoversOfEarlier } from '../../src/runner/jobs/leftovers.ts';
import { jobMark } from '../../src/runner/jobs/marked.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { identityOptions } from '../../src/runner/users/identity.ts';
import { processStartTime, signalProcess } from '../../src/system/process/processes.ts';
import { isChild, spawn as startProgram, usualPath } from '../../src/system/process/run.ts';
import { withoutRoot } from '../support/isolated.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const other = { name: 'shop', uid: 61_234, gid: 61_234, home: '/' };

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

for (const kind of ['worker', 'background', 'job'] as const) {
  test(`leftovers of a ${kind} that ended while no runner lived are ended`, async (t) => {
    const records = new ProcessRecords(await temporaryDirectory(t));
    const mark = `ended-${kind}-${process.pid}`;
    const env = { PATH: usualPath, [jobMark]: mark };
    const main = spawn('sh', ['-c', 'setsid sleep 300 & read -r line'], { env, detached: true });
    t.after(() => killMarked(mark));
    await waitFor(() => markedBy(mark).length === 2);
    records.add(kind, 'shop', main.pid as number, { mark });
    main.stdin.end('\n');
    await once(main, 'exit');
    const earlier = await records.all();
    assert.deepEqual(await records.alive(), []);
    const logged: string[] = [];
    await endLeftoversOfEarlier(
      earlier,
      records,
      () => undefined,
      (text) => logged.push(text),
    );
    assert.deepEqual(markedBy(mark), []);
    assert.deepEqual(await records.all(), []);
    assert.deepEqual(logged, []);
  });
}

test('a process cannot stop the search for it', { skip: withoutRoot }, async (t) => {
  const mark = `stops-${process.pid}`;
  const script = 'trap "" TERM; echo; while :; do kill -s STOP -- -1; done';
  const options = identityOptions(other, { PATH: usualPath, [jobMark]: mark });
  const hostile = spawn('sh', ['-c', script], { ...options, cwd: '/', detached: true });
  t.after(() => hostile.kill('SIGKILL'));
  const exited = once(hostile, 'exit');
  await once(hostile.stdout, 'data');
  assert.equal(await endLeftovers({ pid: undefined, mark, user: other }, 0), 1);
  await exited;
});

test('the processes of a session are ended although the search for others fails', {
  skip: withoutRoot,
}, async (t) => {
  const options = identityOptions(other, { PATH: usualPath });
  const left = spawn('sh', ['-c', 'trap "" TERM; echo; while :; do sleep 1; done'], {
    ...options,
    cwd: '/',
    detached: true,
  });
  t.after(() => left.kill('SIGKILL'));
  const exited = once(left, 'exit');
  await once(left.stdout, 'data');
  // No process can take this group.
  const user = { ...other, gid: 2 ** 32 - 1 };
  await assert.rejects(endLeftovers({ pid: left.pid, mark: 'any', user }, 0), /cannot read as user/);
  await exited;
});

test('in a session that a process has named, only processes of its user are ended', {
  skip: withoutRoot,
}, async (t) => {
  const start = async (user: typeof other | undefined) => {
    const env = { PATH: usualPath };
    const child = spawn('sh', ['-c', 'echo; exec sleep 300'], {
      ...identityOptions(user, env),
      cwd: '/',
      detached: true,
    });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    return child;
  };
  const [own, foreign] = [await start(other), await start(undefined)];
  for (const { pid: terminal } of [own, foreign])
    await endLeftovers({ pid: undefined, terminal, mark: undefined, user: other }, 0);
  await waitFor(() => own.signalCode !== null);
  assert.equal(foreign.exitCode ?? foreign.signalCode, null);
});

test('the end of a command that still runs leaves other children of the runner alone', async (t) => {
  const mark = `children-${process.pid}`;
  const start = async () => {
    const child = startProgram('sh', ['-c', 'echo; exec sleep 300'], {
      env: { PATH: usualPath, [jobMark]: mark },
      detached: true,
    });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    return child;
  };
  const [command, sibling] = [await start(), await start()];
  const ended = once(command, 'exit');
  const { pid: terminal } = sibling;
  assert.equal(await endLeftovers({ pid: command.pid, terminal, mark, user: undefined }, 5000), 0);
  assert.deepEqual(await ended, [null, 'SIGTERM']);
  assert.deepEqual(markedBy(mark), [sibling.pid]);
  // After its exit, a process does not count as a child.
  assert.deepEqual(
    [command, sibling].map(({ pid }) => isChild(pid as number)),
    [false, true],
  );
});

test('the record of a later process with the same pid stays', async (t) => {
  const records = new ProcessRecords(await temporaryDirectory(t));
  records.add('worker', 'shop', process.pid);
  const [record] = await records.all();
  assert.ok(record);
  records.forget({ ...record, startTime: '1' });
  assert.equal(records.get(process.pid)?.kind, 'worker');
});

const chain = 'if [ $0 = 0 ]; then exec sleep 300; fi; exec setsid -f sh -c "$1" $(($0 - 1)) "$1"';

for (const [whose, user] of [['the same user', undefined] as const, ['another user', other] as const]) {
  test(`a process of ${whose} is ended although each one starts the next and ends at once`, {
    skip: user !== undefined && withoutRoot,
  }, async (t) => {
    for (let round = 0; round < 10; round += 1) {
      const mark = `chain-${process.pid}-${round}`;
      const options = identityOptions(user, { PATH: usualPath, [jobMark]: mark });
      const first = spawn('sh', ['-c', chain, '12', chain], { ...options, cwd: '/' });
      t.after(() => killMarked(mark));
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

// Its files make its exit last for some time, and it has no memory then.
const slowExit = 'my @f; pipe($f[@f], $f[@f]) or last for 1..4000; $| = 1; print "\\n"; sleep 300';

for (const [whose, user] of [['the same user', undefined] as const, ['another user', other] as const]) {
  test(`a process of ${whose} that is exiting counts until it is gone`, {
    skip: user !== undefined && withoutRoot,
  }, async (t) => {
    for (let round = 0; round < 20; round += 1) {
      const mark = `exiting-${process.pid}-${round}`;
      const options = identityOptions(user, { PATH: usualPath, [jobMark]: mark });
      const child = spawn('perl', ['-e', slowExit], { ...options, cwd: '/', detached: true });
      t.after(() => child.kill('SIGKILL'));
      await once(child.stdout, 'data');
      const pid = child.pid as number;
      process.kill(pid, 'SIGKILL');
      await waitFor(() => environmentOf(pid) === '', { interval: 1 });
      await endLeftovers({ pid: undefined, mark, user }, 0);
      assert.equal(processStartTime(pid), undefined, `round ${round}`);
    }
  });
}

function killMarked(mark: string): void {
  for (const pid of markedBy(mark)) signalProcess(pid, 'SIGKILL');
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
