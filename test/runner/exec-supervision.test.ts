import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { descendantsOf } from '../../src/runner/tree-figures.ts';
import { isAlive, processStartTime } from '../../src/system/process/processes.ts';
import { appLog } from '../support/app-log.ts';
import { appFile, execCommands, execSpec } from '../support/exec.ts';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

test('a process of a command that dies is started again by the command, and its worker continues', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(execSpec(runner, execCommands['node:cluster']));
  const before = await workersOf(runner);
  const pids = await answering(runner, 2);
  const [victim = 0] = pids;
  process.kill(victim, 'SIGKILL');
  await waitFor(async () => {
    const now = await answering(runner, 2);
    return !now.includes(victim);
  });
  const after = await workersOf(runner);
  assert.deepEqual(
    after.map(({ pid, state, restarts }) => ({ pid, state, restarts })),
    before.map(({ pid }) => ({ pid, state: 'open', restarts: 0 })),
  );
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  const tier = signal === 'SIGTERM' ? '' : ' (thorough)';
  test(`${signal} lets the processes of a command shut down in order, and none remains${tier}`, async (t) => {
    const runner = await TestRunner.start(t);
    const bye = `process.on("${signal}", () => { console.log("bye"); process.exit(); }); require(${appFile('plain.cjs')})`;
    const spec = execSpec(runner, `sleep 1000 & node -e '${bye}'; true`, { stopSignal: signal });
    await runner.release(spec);
    const [{ pid = 0 } = {}] = await workersOf(runner);
    const all = [pid, ...descendantsOf(pid)];
    assert.equal(all.length, 3);
    await runner.client.call('stop', { key: spec.key });
    assert.deepEqual(
      all.filter((each) => processStartTime(each) !== undefined),
      [],
    );
    const printed = (await appLog(spec.log.directory)).map(({ text }) => text);
    assert.equal(printed.filter((text) => text === 'bye').length, 1);
    assert.ok(!printed.some((text) => text.includes('killTimeout')), printed.join('\n'));
  });
}

test('the memory of all processes of a command counts, and a worker beyond its limit is replaced (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const command = `node ${appFile('faulty.cjs')}; true`;
  await runner.release(execSpec(runner, command, { maxMemory: '150M' }, { LEAK: '5' }));
  const [{ pid = 0 } = {}] = await workersOf(runner);
  await waitFor(async () => {
    assert.equal((await fetchText(runner.port)).status, 200);
    return !isAlive(pid);
  });
});

test('a worker of which a process hangs, or none listens any more, is replaced (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = execSpec(runner, `node ${appFile('faulty.cjs')}; sleep 1000`, { stuckTimeout: '3s' });
  await runner.release(spec);
  for (const [path, reason] of [
    ['/stuck', /has not turned its event loop for/],
    ['/end', /no process has listened for/],
  ] as const) {
    const [{ pid = 0 } = {}] = await workersOf(runner);
    await fetchText(runner.port, path);
    await waitFor(() => !isAlive(pid), { what: `the replacement after ${path}` });
    assert.equal((await fetchText(runner.port)).status, 200);
    assert.ok((await appLog(spec.log.directory)).some(({ text }) => reason.test(text)));
  }
});

test('a process without the secret of a worker gets no socket', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(execSpec(runner, execCommands['a shell script']));
  for (const secret of ['', 'x'.repeat(32), null, undefined, {}]) {
    const socket = connect(runner.paths.orphanSocket);
    let received = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
    });
    socket.write(`${JSON.stringify({ type: 'member', key: 'shop', pid: process.pid, secret })}\n`);
    await once(socket, 'close');
    assert.equal(received, '');
  }
  assert.equal((await fetchText(runner.port)).status, 200);
});

async function workersOf(runner: TestRunner) {
  return (await runner.client.call('status', {}))[0]?.workers ?? [];
}

/** Asks until that many processes have answered. @returns their pids */
async function answering(runner: TestRunner, count: number): Promise<number[]> {
  const pids = new Set<number>();
  await waitFor(async () => {
    const { headers } = await fetchText(runner.port);
    pids.add(Number(headers['x-pid']));
    return pids.size >= count;
  });
  return [...pids];
}
