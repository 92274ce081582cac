import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AppStatus } from '../../src/apps/status.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { answering, running } from '../support/apps.ts';
import type { Files } from '../support/pack.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const bot = await readFile(new URL('../fixtures/apps/bot.cjs', import.meta.url), 'utf8');
const crash = fileURLToPath(new URL('../support/crash-at-step.ts', import.meta.url));
const crashing = { NODE_OPTIONS: `--import=${crash}` };

/** Starts Sluice, and returns files of a bot, of which only one may run, and its notes: `begin 1`, `end 1`. */
async function startBot(t: TestContext, env: Record<string, string> = {}) {
  const sluice = await startSluice(t, { env });
  const directory = await temporaryDirectory(t);
  const spans = join(directory, 'spans');
  const lock = join(directory, 'lock');
  const files = (mark: string, settings: object = {}, env: Record<string, string> = {}): Files => ({
    'bot.cjs': bot,
    'sluice.json': {
      workers: 0,
      settleTime: '20ms',
      health: { command: `test -e ${lock}.ready`, interval: 20 },
      processes: { bot: { command: 'node bot.cjs', env: { SPANS: spans, LOCK: lock, MARK: mark, ...env } } },
      ...settings,
    },
  });
  const said = async () => {
    const text = await readFile(spans, 'utf8').catch(() => '');
    const notes = text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
    return notes.map(({ what, mark }) => `${what} ${mark}`);
  };
  const status = () => sluice.call<AppStatus>('GET', '/v1/apps/bot');
  const runs = (release: number) =>
    waitFor(
      async () => {
        const { background, state } = await status();
        const [process, ...others] = background;
        return (
          state === 'running' &&
          others.length === 0 &&
          process?.state === 'running' &&
          process.release === release
        );
      },
      { what: `release ${release}` },
    );
  return { sluice, files, said, status, runs, lock, directory };
}

test('an app without a port: its whole life', async (t) => {
  const { sluice, files, said, status, runs } = await startBot(t);
  const post = (verb: string, body?: unknown) => sluice.call('POST', `/v1/apps/bot/${verb}`, body);

  await t.test('a deploy says that the app has no port, and status shows its processes', async () => {
    const release = await sluice.deploy('bot', files('1'));
    assert.deepEqual([release.state, release.url], ['live', null]);
    const { url, wanted, workers, state } = await status();
    assert.deepEqual([url, wanted, workers, state], [null, 0, [], 'running']);
    assert.deepEqual(await said(), ['begin 1']);
    const log = await (await sluice.request('/v1/apps/bot/releases/1/log')).text();
    for (const line of [
      'runs without a port: bot',
      'runs bot: bot.cjs',
      '1 background process healthy after',
      'switched\n',
      'live: without a port',
    ])
      assert.ok(log.includes(line), line);
  });

  await t.test('a second deploy never overlaps with the first', async () => {
    await sluice.deploy('bot', files('2'));
    assert.deepEqual(await said(), ['begin 1', 'end 1', 'begin 2']);
  });

  await t.test('a release that fails changes nothing: the old one runs again', async () => {
    await assert.rejects(sluice.deploy('bot', files('3', {}, { FAILS: '1' })), {
      code: 'settle_exited',
      message: /^bot\.0 ended with exit status 1\n {2}\| the token is wrong$/,
    });
    await runs(2);
    await waitFor(async () => (await said()).length === 6);
    assert.deepEqual((await said()).slice(3), ['end 2', 'begin 3', 'begin 2']);
  });

  await t.test('rollback, restart and a change of variables end the old process first', async () => {
    await sluice.rollback('bot');
    await post('restart');
    await sluice.call('PATCH', '/v1/apps/bot/env', { GREETING: 'hello' });
    assert.deepEqual((await said()).slice(6), ['end 2', 'begin 1', 'end 1', 'begin 1', 'end 1', 'begin 1']);
    await runs(1);
  });

  await t.test('stop ends the process, and start starts it', async () => {
    await post('stop');
    assert.equal((await status()).state, 'stopped');
    assert.deepEqual((await said()).slice(12), ['end 1']);
    await post('start');
    assert.deepEqual((await said()).slice(13), ['begin 1']);
  });

  await t.test('it cannot be scaled, and gets no domain', async () => {
    await assert.rejects(post('scale', { workers: 2 }), { code: 'without_port', hint: /"count"/ });
    const { length } = await said();
    await post('scale', { workers: null });
    assert.equal((await said()).length, length, 'nothing is restarted');
    await assert.rejects(sluice.call('POST', '/v1/domains', { name: 'bot.example.com', app: 'bot' }), {
      code: 'without_port',
    });
  });

  await t.test('it runs again after Sluice was down, as after a reboot', async () => {
    assert.equal(await sluice.stop(), 0);
    const before = (await said()).length;
    await sluice.up();
    await runs(1);
    assert.deepEqual((await said()).slice(before), ['begin 1']);
  });

  await t.test('the next runner takes over: it ends the old process first', async () => {
    const { pid } = (await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status')).runner;
    const before = (await said()).length;
    signalProcess(pid, 'SIGKILL');
    await waitFor(async () => (await said()).length === before + 2, { what: 'the takeover' });
    assert.deepEqual((await said()).slice(before), ['end 1', 'begin 1']);
    await runs(1);
  });

  await t.test('it becomes an app with a port, and one without a port again', async () => {
    await sluice.deploy('bot', answering('with a port'));
    assert.equal(await sluice.get('bot'), 'with a port');
    await waitFor(async () => (await status()).background.length === 0);
    await sluice.deploy('bot', files('9'));
    const { port, url } = await status();
    assert.equal(url, null);
    await assert.rejects(fetch(`http://127.0.0.1:${port}`), ({ cause }: Error) => {
      assert.equal((cause as { code: string }).code, 'ECONNREFUSED');
      return true;
    });
  });
});

// The steps from the start of the new process on.
for (const step of ['switch', 'record', 'clean']) {
  test(`a server that is killed at the step ${step} leaves exactly one release running`, async (t) => {
    const { sluice, files, said, runs } = await startBot(t, crashing);
    await sluice.deploy('bot', files('1'));
    await killServerAt(sluice, step, () => sluice.deploy('bot', files('2')));
    await sluice.up(crashing);
    const live = step === 'switch' ? 1 : 2;
    await runs(live);
    const expected = ['begin 1', 'end 1', 'begin 2', ...(live === 1 ? ['end 2', 'begin 1'] : [])];
    await waitFor(async () => (await said()).length === expected.length);
    assert.deepEqual(await said(), expected);
  });
}

async function killServerAt(sluice: Sluice, step: string, deploy: () => Promise<unknown>): Promise<void> {
  const marker = join(sluice.home, 'crash-at');
  await writeFile(marker, step);
  await assert.rejects(deploy());
  await sluice.ended();
  assert.ok(!existsSync(marker), `the deploy got to ${step}`);
}

test('a runner that is killed while a new release is on trial leaves the old one', async (t) => {
  const { sluice, files, said, runs, directory } = await startBot(t);
  await sluice.deploy('bot', files('1'));
  const never = { command: `touch ${join(directory, 'checked')}; false`, interval: 20 };
  const failing = assert.rejects(sluice.deploy('bot', files('2', { health: never, bootTimeout: '5m' })));
  await waitFor(async () => existsSync(join(directory, 'checked')) && (await said()).includes('begin 2'));
  const { pid } = (await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status')).runner;
  signalProcess(pid, 'SIGKILL');
  await failing;
  await runs(1);
  await waitFor(async () => (await said()).length === 5);
  assert.deepEqual(await said(), ['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 1']);
});

test('server and runner that are killed at once leave the old release, and one process of it', async (t) => {
  const { sluice, files, said, runs, lock } = await startBot(t, crashing);
  await sluice.deploy('bot', files('1'));
  const { pid } = (await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status')).runner;
  // The process on trial ignores the stop signal.
  const deaf = files('2', { killTimeout: 300 }, { DEAF: '1' });
  await killServerAt(sluice, 'switch', () => {
    const deploy = sluice.deploy('bot', deaf);
    return deploy.finally(() => signalProcess(pid, 'SIGKILL'));
  });
  const freed = waitFor(async () => (await readFile(lock, 'utf8').catch(() => '')) !== '').then(() =>
    rm(lock),
  );
  await freed;
  await sluice.up(crashing);
  await runs(1);
  assert.ok((await said()).filter((note) => note.startsWith('refused')).length === 0);
});

test('with "workers": 0 and no processes, the start command runs as the background process "main"', async (t) => {
  const { sluice } = await startBot(t);
  const release = await sluice.deploy('bot', {
    'package.json': { scripts: { start: 'node bot.js' } },
    'bot.js': `setInterval(() => undefined, 1000); console.log('connected');`,
    'sluice.json': { workers: 0, settleTime: '20ms' },
  });
  assert.equal(release.url, null);
  const { background } = await sluice.call<AppStatus>('GET', '/v1/apps/bot');
  assert.deepEqual(
    background.map(({ name }) => name),
    ['main'],
  );
});

test('an app that never listens gets the settings that run it without a port', async (t) => {
  const sluice = await startSluice(t);
  const app = running('setInterval(() => undefined, 1000)', {
    bootTimeout: '300ms',
    start: 'node server.js --quiet',
  });
  const hint = `{"workers":0,"processes":{"main":"node server.js --quiet"}}`;
  await assert.rejects(sluice.deploy('shop', app), (error: { code: string; hint: string }) => {
    assert.equal(error.code, 'boot_timeout');
    assert.ok(error.hint.endsWith(hint), error.hint);
    return true;
  });
  await sluice.deploy('shop', running('setInterval(() => undefined, 1000)', JSON.parse(hint)));
});
