import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { AppError } from '../../src/errors/app-error.ts';
import { CallClient } from '../../src/protocol/peer.ts';
import type { JobLimits, OneOffProgress, OneOffSpec, RunnerCalls } from '../../src/protocol/runner.ts';
import { processStartTime, signalProcess } from '../../src/system/process/processes.ts';
import { managesCgroups, noLimits } from '../support/cgroups.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

const limits = { key: 'shop', memory: null, processes: 512, cpuWeight: 100 };

function command(runner: TestRunner, script: string, changes: Partial<OneOffSpec> = {}): OneOffSpec {
  return {
    ...{ key: 'shop', release: 1, directory: apps, command: script, by: 'test', node: process.execPath },
    argv: ['/bin/sh', '-c', script],
    env: { PATH: process.env['PATH'] ?? '' },
    ...{ terminal: null, detached: false, log: runner.spec('plain.cjs').log },
    ...changes,
  };
}

/** Opens a connection of its own, as the server does for each command. */
async function open(runner: TestRunner): Promise<CallClient<RunnerCalls>> {
  const socket = connect(runner.paths.runnerSocket);
  await once(socket, 'connect');
  return new CallClient<RunnerCalls>(socket, () => new AppError('runner_unavailable', 'gone'));
}

async function run(runner: TestRunner, spec: OneOffSpec, allowed: JobLimits = limits) {
  const client = await open(runner);
  let output = '';
  let id = '';
  const onProgress = (message: OneOffProgress) => {
    if ('id' in message) id = message.id;
    else output += Buffer.from(message.data, 'base64').toString();
  };
  const result = client.call('run', { command: spec, limits: allowed }, { onProgress });
  return { client, result, output: () => output, id: () => id };
}

const gone = (pid: number) =>
  waitFor(() => processStartTime(pid) === undefined, { what: `the end of process ${pid}` });

for (const count of [30, 1000]) {
  test(`${count} short commands leave no descriptor, process, record or file${thorough(count > 30)}`, {
    timeout: 600_000,
  }, async (t) => {
    const runner = await TestRunner.start(t);
    const descriptors = () => readdirSync(`/proc/${runner.process.pid}/fd`).length;
    // Some leave a process, and half of them have a terminal.
    const short = async (at: number) => {
      const terminal = at % 2 === 0 ? null : { rows: 24, columns: 80 };
      const script = at % 10 < 2 ? 'sleep 1000 & echo $!' : 'echo $$';
      const { client, result, output } = await run(runner, command(runner, script, { terminal }));
      assert.equal((await result).code, 0);
      client.close();
      const pid = Number(output());
      await gone(pid);
      return pid;
    };
    await short(0);
    await short(1);
    const before = await settled(descriptors);
    let left = count;
    const pids: number[] = [];
    const several = async () => {
      while (left-- > 0) pids.push(await short(left));
    };
    await Promise.all(Array.from({ length: 4 }, several));
    assert.equal(pids.length, count);
    await waitFor(() => descriptors() <= before, { what: `${before} descriptors` });
    assert.deepEqual(await runner.client.call('oneOffs', {}), []);
    assert.deepEqual(
      readdirSync(runner.paths.outputs).filter((name) => !name.startsWith('keeper')),
      [],
    );
    const records = readdirSync(runner.paths.processes).filter((name) => name.endsWith('.json'));
    for (const name of records) assert.ok(!pids.includes(Number.parseInt(name, 10)), name);
  });
}

test('a command opens its input by name after the input has ended', { timeout: 30_000 }, async (t) => {
  const runner = await TestRunner.start(t);
  const file = join(runner.paths.home, 'continue');
  const script = `until [ -e ${file} ]; do sleep 0.05; done; cat /dev/stdin; cat /proc/self/fd/0`;
  const { client, id, result, output } = await run(runner, command(runner, script));
  await waitFor(() => id() !== '', { what: 'the start' });
  await client.call('input', { data: Buffer.from('in').toString('base64') });
  await client.call('endInput', {});
  await writeFile(file, '');
  assert.equal((await result).code, 0);
  assert.equal(output(), 'in');
  client.close();
});

const untilSleeping = 'until grep -q sleep /proc/$!/comm; do :; done';

/** Returns a number when it has stopped to fall. */
async function settled(read: () => number): Promise<number> {
  let last = Number.POSITIVE_INFINITY;
  await waitFor(
    () => {
      const now = read();
      const isSame = now >= last;
      last = now;
      return isSame;
    },
    { interval: 200 },
  );
  return last;
}

test('the next runner ends the commands of a killed runner, also detached ones', async (t) => {
  const runner = await TestRunner.start(t);
  const attached = await run(runner, command(runner, 'echo $$; exec sleep 1000'));
  await waitFor(() => attached.output().includes('\n'));
  const terminal = await run(
    runner,
    command(runner, 'echo $$; exec sleep 1000', { terminal: { rows: 24, columns: 80 } }),
  );
  await waitFor(() => terminal.output().includes('\n'));
  for (const { result } of [attached, terminal]) result.catch(() => undefined);
  await runner.kill();
  // The kernel hangs up a terminal whose other side is gone.
  await gone(Number(terminal.output()));
  await runner.launch();
  await gone(Number(attached.output()));
});

test('the next runner ends what a command of a killed runner has left, although the command has ended', async (t) => {
  const runner = await TestRunner.start(t);
  const { result, output } = await run(runner, command(runner, 'setsid sleep 1000 & echo $$ $!; exec cat'));
  result.catch(() => undefined);
  await waitFor(() => output().includes('\n'));
  const [main = 0, left = 0] = output().split(' ').map(Number);
  t.after(() => signalProcess(left, 'SIGKILL'));
  await runner.kill();
  // Its input ends with the runner.
  await gone(main);
  assert.notEqual(processStartTime(left), undefined);
  await runner.launch();
  assert.equal(processStartTime(left), undefined);
});

test('a command in a terminal ends with the processes of its session, also those without its variables', async (t) => {
  const runner = await TestRunner.start(t);
  const terminal = { rows: 24, columns: 80 };
  // Each background process has a process group of its own.
  const script = `set -m; env -i sleep 1000 & echo $!; ${untilSleeping}`;
  const { result, output } = await run(runner, command(runner, script, { terminal }));
  assert.equal((await result).code, 0);
  const left = Number(/^\d+/m.exec(output())?.[0]);
  t.after(() => signalProcess(left, 'SIGKILL'));
  assert.equal(processStartTime(left), undefined);
});

test('a command ends with all processes of its cgroup, also those in other sessions without its variables', {
  skip: noLimits(),
}, async (t) => {
  const runner = await TestRunner.start(t, managesCgroups);
  const limited = 'until grep -q builds/app-shop/job- /proc/$$/cgroup; do :; done';
  const script = `${limited}; setsid env -i sleep 1000 >/dev/null 2>&1 & echo $!; ${untilSleeping}`;
  const { result, output } = await run(runner, command(runner, script));
  assert.equal((await result).code, 0);
  const left = Number(output());
  t.after(() => signalProcess(left, 'SIGKILL'));
  assert.equal(processStartTime(left), undefined);
});

test('a command whose caller reads slowly waits, and loses no output', async (t) => {
  const runner = await TestRunner.start(t);
  const slow = await run(runner, command(runner, 'head -c 20000000 /dev/zero | tr "\\0" x; echo; echo end'));
  await waitFor(() => slow.output().length > 0);
  slow.client.pause();
  const read = slow.output().length;
  // Other calls are answered meanwhile, and the command waits.
  assert.equal((await runner.client.call('oneOffs', {})).length, 1);
  assert.ok(read < 20_000_000);
  slow.client.resume();
  assert.equal((await slow.result).code, 0);
  assert.equal(slow.output().length, 20_000_005);
});

test('the output of an ended command arrives although its caller reads much later (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const slow = await run(runner, command(runner, 'echo $$; head -c 60000 /dev/zero'));
  slow.client.pause();
  await waitFor(async () => (await runner.client.call('oneOffs', {})).length === 1);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  slow.client.resume();
  await slow.result;
  assert.ok(slow.output().length > 60_000);
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT', 'SIGHUP'] as const) {
  test(`${signal} reaches a command in a terminal once, and does not end the terminal${thorough(signal !== 'SIGTERM')}`, async (t) => {
    const runner = await TestRunner.start(t);
    const trap = `trap 'echo got ${signal}' ${signal.slice(3)}`;
    const loop = 'echo ready; until read -r line; do :; done; echo "line $line"; exit 9';
    const terminal = { rows: 24, columns: 80 };
    const { client, result, output } = await run(runner, command(runner, `${trap}; ${loop}`, { terminal }));
    await waitFor(() => output().includes('ready'));
    await client.call('signal', { signal });
    await waitFor(() => output().includes('got'));
    await client.call('input', { data: Buffer.from('still here\n').toString('base64') });
    assert.equal((await result).code, 9);
    assert.equal(output().match(/got/g)?.length, 1);
    assert.match(output(), /line still here/);
  });
}

test('the end of a command in a terminal sends SIGHUP once, as a terminal that is closed', async (t) => {
  const runner = await TestRunner.start(t);
  const file = join(runner.paths.home, 'signals');
  // SIGTERM follows at once, and could end the shell before it handles SIGHUP.
  const script = `trap '' TERM; trap 'echo hup >>${file}' HUP; echo ready; while test ! -e ${file}; do sleep 0.02; done; sleep 0.3; exec cat ${file}`;
  const terminal = { rows: 24, columns: 80 };
  const { client, result, output } = await run(runner, command(runner, script, { terminal }));
  await waitFor(() => output().includes('ready'));
  const cut = assert.rejects(result);
  client.close();
  await cut;
  await waitFor(async () => (await runner.client.call('oneOffs', {})).length === 0);
  assert.equal(await readFile(file, 'utf8'), 'hup\n');
});

test('the runner refuses other signals, sizes, environments and second commands', async (t) => {
  const runner = await TestRunner.start(t);
  const { client, id } = await run(runner, command(runner, 'exec sleep 1000'));
  await waitFor(() => id() !== '');
  const refused = { code: 'bad_request' };
  await assert.rejects(client.call('signal', { signal: 'SIGSTOP' as 'SIGINT' }), refused);
  await assert.rejects(client.call('run', { command: command(runner, 'x'), limits }), refused);
  await assert.rejects(runner.client.call('input', { data: '' }), refused);
  for (const rows of [0, -1, 1.5, 100_000, '24;x' as unknown as number]) {
    const { result } = await run(runner, command(runner, 'x', { terminal: { rows, columns: 80 } }));
    await assert.rejects(result, refused, String(rows));
  }
  for (const key of ['../shop', 'shop@../x', '']) {
    const { result } = await run(runner, command(runner, 'x', { key }));
    await assert.rejects(result, { code: 'user_refused' });
  }
  const others = await Promise.all(
    Array.from({ length: 31 }, () => run(runner, command(runner, 'exec sleep 1000'))),
  );
  await waitFor(() => others.every((each) => each.id() !== ''));
  const { result } = await run(runner, command(runner, 'x'));
  await assert.rejects(result, { code: 'too_many_commands' });
  assert.equal(await runner.client.call('endOneOffs', { key: 'shop', id: id() }), 1);
  assert.equal(await runner.client.call('endOneOffs', { key: 'shop' }), 31);
  assert.ok(existsSync(runner.paths.processes));
});

test('the runner holds the input of one call, whatever its caller sends', async (t) => {
  const runner = await TestRunner.start(t);
  const { client, id, result } = await run(runner, command(runner, 'exec sleep 1000'));
  await waitFor(() => id() !== '');
  const data = Buffer.alloc(256 * 1024).toString('base64');
  const first = client.call('input', { data });
  await assert.rejects(client.call('input', { data }), { code: 'bad_request' });
  await runner.client.call('endOneOffs', { key: 'shop' });
  await Promise.all([first, result]);
});

test('a command that exceeds the memory of the app is killed in its own cgroup', {
  skip: noLimits(),
}, async (t) => {
  const runner = await TestRunner.start(t, managesCgroups);
  const eats = `exec ${process.execPath} -e 'const all = []; for (;;) all.push(Buffer.alloc(16 * 1024 ** 2, 1))'`;
  const { result, output } = await run(
    runner,
    command(runner, `until grep -q builds/app-shop/job- /proc/$$/cgroup; do :; done; echo limited; ${eats}`),
    {
      ...limits,
      memory: 100 * 1024 ** 2,
    },
  );
  const { signal, shortage } = await result;
  assert.equal(signal, 'SIGKILL');
  assert.deepEqual(shortage, { of: 'memory', limit: 100 * 1024 ** 2 });
  assert.equal(output(), 'limited\n');
});
