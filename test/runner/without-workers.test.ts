import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { BackgroundSpec, EnvironmentStatus, GenerationSpec } from '../../src/protocol/runner.ts';
import { isAlive } from '../../src/system/process/processes.ts';
import { fetchText } from '../support/http.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

interface Note {
  what: 'begin' | 'end' | 'refused';
  mark: string;
  pid: number;
}

/** Starts a runner with a bot, of which only one process may run at a time. */
async function startBot(t: TestContext) {
  const runner = await TestRunner.start(t);
  const file = (name: string) => join(runner.paths.home, name);
  const bot = (
    settings: object = {},
    env: Record<string, string> = {},
    background: Partial<BackgroundSpec> = {},
  ): GenerationSpec => {
    const spec = runner.spec('', { workers: 0, ...settings });
    // On a busy machine, a process may need longer than `settleTime` until it runs its first line.
    spec.health.command ??= `grep -q '"begin","mark":"${spec.release}"' ${file('spans')}`;
    const common = { name: 'bot', count: 1, nodeArgs: [], script: join(apps, 'bot.cjs'), args: [] };
    const own = { SPANS: file('spans'), LOCK: file('lock'), ...env };
    return { ...spec, background: [{ ...common, overlap: false, env: own, ...background }] };
  };
  const notes = async (): Promise<Note[]> => {
    const text = await readFile(file('spans'), 'utf8').catch(() => '');
    return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
  };
  const said = async () => (await notes()).map(({ what, mark }) => `${what} ${mark}`);
  const status = async () => (await runner.client.call('status', {}))[0] as EnvironmentStatus;
  return { runner, file, bot, notes, said, status };
}

test('an app without workers runs its processes, and its port stays closed', async (t) => {
  const { runner, bot, status } = await startBot(t);
  const { workers, generation } = await runner.release(bot());
  assert.equal(workers, 0);
  const now = await status();
  assert.deepEqual([now.state, now.workers, now.active?.generation], ['running', [], generation]);
  assert.deepEqual(
    now.background.map(({ name, state }) => [name, state]),
    [['bot', 'running']],
  );
  await assert.rejects(fetchText(runner.port), { code: 'ECONNREFUSED' });
  await runner.client.call('stop', { key: 'shop' });
  assert.deepEqual(await runner.client.call('status', {}), []);
});

test('the old processes end before the new ones start, so that two releases never run at once', async (t) => {
  const { runner, bot, said } = await startBot(t);
  await runner.release(bot({}, { LINGER: '300' }));
  const lines: string[] = [];
  const booted = await runner.boot(bot(), (line) => lines.push(line));
  assert.deepEqual(lines, ['the processes of release 1 end first: bot.0']);
  await runner.client.call('switch', { key: 'shop', generation: booted.generation });
  assert.deepEqual(await said(), ['begin 1', 'end 1', 'begin 2']);
});

test('if a process of the new release ends, the deploy fails with its last lines, and the old release runs again', async (t) => {
  const { runner, bot, said, status } = await startBot(t);
  await runner.release(bot());
  await assert.rejects(runner.release(bot({}, { FAILS: '1' })), {
    code: 'settle_exited',
    message: 'bot.0 ended with exit status 1\n  | the token is wrong',
  });
  const { background, active } = await waitFor(async () => {
    const now = await status();
    return now.state === 'running' && now;
  });
  assert.deepEqual([active?.release, background.map(({ release }) => release)], [1, [1]]);
  await waitFor(async () => (await said()).length === 4);
  assert.deepEqual(await said(), ['begin 1', 'end 1', 'begin 2', 'begin 1']);
});

test('a process that ends with a status of stopExitCodes does not fail the deploy', async (t) => {
  const { runner, bot, status } = await startBot(t);
  await runner.release(bot({ stopExitCodes: [1], health: { command: 'true' } }, { FAILS: '1' }));
  await waitFor(async () => (await status()).state === 'stopped');
});

test('a process on trial that ends as it should does not hold up the switch while its leftovers end', {
  timeout: 60_000,
}, async (t) => {
  const { runner, bot, status } = await startBot(t);
  const exec = '(trap "" TERM; while :; do sleep 0.1; done) & exit 0';
  const spec = bot({ stopExitCodes: [0], killTimeout: '3s', health: { command: 'true' } }, {}, { exec });
  const { generation } = await runner.boot(spec);
  await waitFor(async () => (await status()).background[0]?.pid === null);
  await runner.client.call('switch', { key: 'shop', generation });
});

test('a failed deploy does not run processes again that have ended for good', async (t) => {
  const { runner, bot, said, file, status } = await startBot(t);
  const withSeed = (env: Record<string, string> = {}) => {
    const spec = bot({ stopExitCodes: [0] }, env);
    const exec = `echo ${spec.release} >>${file('seeds')}`;
    const seed = {
      name: 'seed',
      count: 1,
      nodeArgs: [],
      script: '',
      args: [],
      overlap: false,
      env: {},
      exec,
    };
    return { ...spec, background: [...spec.background, seed] };
  };
  const seedEnded = () =>
    waitFor(async () =>
      (await status()).background.some(({ name, state }) => name === 'seed' && state === 'stopped'),
    );
  await runner.release(withSeed());
  await seedEnded();
  const lines: string[] = [];
  const { generation } = await runner.boot(withSeed(), (line) => lines.push(line));
  assert.deepEqual(lines, ['the processes of release 1 end first: bot.0']);
  await waitFor(async () => (await readFile(file('seeds'), 'utf8')) === '1\n2\n');
  await runner.client.call('discard', { key: 'shop', generation });
  await waitFor(async () => (await said()).length === 5);
  await seedEnded();
  assert.equal(await readFile(file('seeds'), 'utf8'), '1\n2\n');
});

test('a discarded release leaves the old one running, also if the caller hangs up', async (t) => {
  const { runner, bot, said, status } = await startBot(t);
  await runner.release(bot());
  const { generation } = await runner.boot(bot());
  assert.equal((await status()).background[0]?.state, 'starting');
  await runner.client.call('discard', { key: 'shop', generation });
  await waitFor(async () => (await said()).length === 5);
  await runner.boot(bot());
  runner.client.close();
  await runner.connect();
  await waitFor(async () => (await said()).length === 9);
  const ofOne = ['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 1', 'end 1', 'begin 3', 'end 3', 'begin 1'];
  assert.deepEqual(await said(), ofOne);
});

test('a switch that cannot be written to disk leaves the old processes running', async (t) => {
  const { runner, bot, said, status } = await startBot(t);
  await runner.release(bot());
  const next = bot();
  await rm(next.paths.generation);
  await mkdir(join(next.paths.generation, 'obstacle'), { recursive: true });
  await assert.rejects(runner.release(next), { code: 'switch_failed' });
  await rm(next.paths.generation, { recursive: true });
  await waitFor(async () => (await status()).state === 'running');
  await waitFor(async () => (await said()).length === 5);
  assert.deepEqual(await said(), ['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 1']);
});

test('a process that ends between the check and the switch fails the switch', async (t) => {
  const { runner, bot, notes, status } = await startBot(t);
  await runner.release(bot());
  const { generation } = await runner.boot(bot());
  const pid = (await notes()).at(-1)?.pid ?? 0;
  process.kill(pid, 'SIGKILL');
  await waitFor(async () => (await status()).background[0]?.state === 'waiting');
  await rm(join(runner.paths.home, 'lock'));
  await assert.rejects(runner.client.call('switch', { key: 'shop', generation }), {
    code: 'settle_exited',
    message: 'bot.0 was ended by SIGKILL\n  | bot of 2 works',
  });
  await waitFor(async () => (await status()).background[0]?.state === 'running');
  assert.equal((await status()).background[0]?.release, 1);
});

test('with overlap, the new process is checked before the old one ends', async (t) => {
  const { runner, bot, said, file, notes } = await startBot(t);
  const overlap = { overlap: true };
  await runner.release(bot({}, {}, overlap));
  const second = { LOCK: file('second') };
  const { generation } = await runner.boot(bot({}, second, overlap));
  assert.deepEqual(await said(), ['begin 1', 'begin 2']);
  const [old] = await notes();
  assert.ok(isAlive(old?.pid ?? 0));
  await runner.client.call('switch', { key: 'shop', generation });
  await waitFor(async () => (await said()).includes('end 1'));
  // A release that may not overlap waits for the end of the one before.
  await runner.release(bot({}, second));
  assert.deepEqual(await said(), ['begin 1', 'begin 2', 'end 1', 'end 2', 'begin 3']);
});

test('a process that ignores the stop signal is killed after killTimeout, and the next release starts then', async (t) => {
  const { runner, bot, said, file, notes } = await startBot(t);
  await runner.release(bot({ killTimeout: 300 }, { DEAF: '1' }));
  const [old] = await notes();
  const lock = waitFor(() => !isAlive(old?.pid ?? 0)).then(() => rm(file('lock')));
  await runner.release(bot({}, { LOCK: file('second') }));
  await lock;
  assert.deepEqual(await said(), ['begin 1', 'begin 2']);
});

test('after the death of a runner, the next one ends what runs before it starts a release', async (t) => {
  const { runner, bot, said, notes } = await startBot(t);
  const live = bot();
  await runner.release(live);
  await runner.boot(bot());
  await runner.kill();
  const { pid = 0 } = (await notes()).at(-1) ?? {};
  assert.ok(isAlive(pid), 'the process on trial runs on');
  assert.equal(JSON.parse(await readFile(live.paths.generation, 'utf8')).release, 1);
  await runner.launch();
  await runner.release(live);
  assert.deepEqual(await said(), ['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 1']);
});

test('a process that ends is started again, and one that always ends makes the app crashed', async (t) => {
  const { runner, bot, file, notes, status } = await startBot(t);
  await runner.release(bot({ maxRestarts: 3, minUptime: '60s', restartDelay: 10 }));
  const [first] = await notes();
  await rm(file('lock'));
  process.kill(first?.pid ?? 0, 'SIGKILL');
  const again = await waitFor(async () => (await notes())[1]);
  // Nothing can take the lock now, so each further start ends at once.
  process.kill(again.pid, 'SIGKILL');
  const { background } = await waitFor(async () => {
    const now = await status();
    return now.state === 'crashed' && now;
  });
  assert.match(background[0]?.crash?.output.join() ?? '', /another bot has the token/);
});

test('an app changes from a port to none and back: no old process remains, and the port closes and opens', async (t) => {
  const { runner, bot, said, status } = await startBot(t);
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  assert.equal((await fetchText(runner.port)).body, '1');
  const { generation } = await runner.boot(bot());
  assert.equal((await fetchText(runner.port)).body, '1');
  await runner.client.call('switch', { key: 'shop', generation });
  await waitFor(async () => (await status()).workers.length === 0);
  await refused(runner.port);
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  assert.equal((await fetchText(runner.port)).body, '3');
  await waitFor(async () => (await said()).includes('end 2'));
});

function refused(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => reject(new Error('the port is open')));
    socket.once('error', () => resolve());
  });
}

test('health.command must succeed before the release is live, and is run until it does', async (t) => {
  const { runner, bot, said, file } = await startBot(t);
  await runner.release(bot());
  const command = `echo checked >>${file('checks')}; echo "not connected: $SECRET" >&2; test -e ${file('connected')}`;
  const health = { command, interval: 20 };
  const env = { SECRET: 'hidden-value' };
  const spec = bot({ health, bootTimeout: '1s' });
  const failing = { ...spec, env: { ...spec.env, ...env }, log: { ...spec.log, secrets: ['hidden-value'] } };
  await assert.rejects(runner.release(failing), (error: Error & { code: string }) => {
    assert.equal(error.code, 'health_failed');
    assert.match(
      error.message,
      /^"health.command" failed \(exit status 1\), .* within 1\.0 s\n {2}\| not connected: /,
    );
    assert.doesNotMatch(error.message, /hidden/);
    return true;
  });
  await waitFor(async () => (await said()).length === 5);
  assert.ok((await readFile(file('checks'), 'utf8')).length > 'checked\n'.length);
  const released = runner.release(bot({ health, bootTimeout: '60s' }));
  const before = (await readFile(file('checks'), 'utf8')).length;
  await waitFor(async () => (await readFile(file('checks'), 'utf8')).length > before);
  await writeFile(file('connected'), '');
  await released;
});

test('a health command that never ends is ended, with its processes, at bootTimeout', async (t) => {
  const { runner, bot, file } = await startBot(t);
  const command = `sleep 1000 & echo $! >${file('pid')}; wait`;
  await assert.rejects(runner.release(bot({ health: { command, timeout: '60s' }, bootTimeout: 500 })), {
    code: 'health_failed',
    message: /\(it had not ended\)/,
  });
  const pid = Number(await readFile(file('pid'), 'utf8'));
  await waitFor(() => !isAlive(pid));
});

test('a process that ends during the health command fails the deploy at once (thorough)', async (t) => {
  const { runner, bot } = await startBot(t);
  const health = { command: 'sleep 60; false', timeout: '60s' };
  await assert.rejects(runner.release(bot({ health, bootTimeout: '60s' }, { FAILS: '1' })), {
    code: 'settle_exited',
  });
});

test('health.command of an app with workers asks the private port of a new worker', async (t) => {
  const { runner, file } = await startBot(t);
  const ask = `fetch('http://127.0.0.1:' + process.env.PORT).then(async (r) => fs.writeFileSync(process.argv[1], await r.text()))`;
  const command = `"${process.execPath}" -e "const fs = require('node:fs'); ${ask}" ${file('answer')}`;
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  const { generation } = await runner.boot(runner.spec('plain.cjs', { workers: 1, health: { command } }));
  assert.equal(await readFile(file('answer'), 'utf8'), '2');
  await runner.client.call('discard', { key: 'shop', generation });
  assert.ok(existsSync(file('answer')));
});
