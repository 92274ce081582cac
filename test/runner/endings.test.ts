import assert from 'node:assert/strict';
import { get } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { appLog } from '../support/app-log.ts';
import { fetchText } from '../support/http.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

/** The app listens when its children are ready. */
const quick = { workers: 1, bootTimeout: '60s', killTimeout: '600ms', drainTimeout: '400ms' };

async function lines(spec: GenerationSpec, process?: string): Promise<string[]> {
  const records = await appLog(spec.log.directory);
  return records
    .filter((record) => process === undefined || record.process === process)
    .map(({ stream, text }) => `${stream} ${text}`);
}

async function pids(runner: TestRunner): Promise<number[]> {
  return JSON.parse((await fetchText(runner.port)).body);
}

async function alive(all: number[]): Promise<number[]> {
  const times = await Promise.all(all.map((pid) => processStartTime(pid)));
  return all.filter((_, index) => times[index] !== undefined);
}

function line(spec: GenerationSpec, pattern: RegExp): Promise<string> {
  return waitFor(async () => (await lines(spec)).find((text) => pattern.test(text)), {
    what: String(pattern),
  });
}

/** Sends a request, and waits until it is in flight. */
function hang(runner: TestRunner, path: string): Promise<unknown> {
  return new Promise((begun) => {
    const request = get({ host: '127.0.0.1', port: runner.port, path, agent: false }, (response) => {
      response.once('data', begun);
      response.on('error', () => undefined);
    });
    request.on('error', () => undefined);
  });
}

const started = 'willing stubborn detached-willing detached-stubborn';

test('the children of a crashed worker are ended before a new worker starts, by SIGKILL if needed', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('ending.cjs', quick, { STARTS: started });
  await runner.release(spec);
  const before = await pids(runner);
  assert.equal(before.length, 5);
  await fetchText(runner.port, '/crash').catch(() => undefined);
  const after = await pids(runner);
  assert.deepEqual(await alive(before), []);
  assert.equal((await alive(after)).length, 5);
  await line(
    spec,
    /^sys worker 0 .* left 2 processes running, which were killed 600 ms after SIGTERM \("killTimeout"\)$/,
  );
});

test('the children of a stopped worker, and of a worker of an earlier runner, are ended (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('ending.cjs', quick, { STARTS: started });
  await runner.release(spec);
  const first = await pids(runner);
  await runner.client.call('stop', { key: 'shop' });
  assert.deepEqual(await alive(first), []);
  await runner.release(runner.spec('ending.cjs', quick, { STARTS: started }));
  const second = await pids(runner);
  await runner.kill();
  await runner.launch();
  await runner.release(runner.spec('plain.cjs', quick));
  await waitFor(async () => (await alive(second)).length === 0, { what: 'the end of all' });
});

test('the children of a background process are ended before the process is started again (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = {
    ...runner.spec('plain.cjs', quick),
    background: [background({ STARTS: started, CRASH: 'yes' })],
  };
  await runner.release(spec);
  const printed = await waitFor(async () => {
    const all = (await lines(spec, 'mail.0')).filter((text) => text.startsWith('out pids'));
    return all.length > 1 && all;
  });
  const [first = []] = printed.map((text) => text.split(' ').at(-1)?.split(',').map(Number) ?? []);
  assert.equal(first.length, 5);
  assert.deepEqual(await alive(first), []);
  await line(spec, /^sys mail.0 .* left 2 processes running, which were killed/);
});

test('the log names each cut request and each killed process, with the time and the setting (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('ending.cjs', quick, { HANDLES: 'SIGTERM', STUBBORN: 'yes' });
  const mail = background({ HANDLES: 'SIGTERM', STUBBORN: 'yes' });
  await runner.release({ ...spec, background: [mail] });
  await line(spec, /pids/);
  await hang(runner, '/hang?token=secret');
  await hang(runner, '/hang/it');
  await runner.release(runner.spec('plain.cjs', quick));
  await line(
    spec,
    /^sys worker 0 \(pid \d+\) cuts GET \/hang: not answered \d+ ms after .* \("drainTimeout"\)$/,
  );
  await line(spec, /^sys worker 0 .* cuts GET \/hang\/it: /);
  await line(spec, /^sys worker 0 .* was killed: it had not ended 600 ms after SIGTERM \("killTimeout"\)$/);
  await line(spec, /^sys mail.0 .* was killed: it had not ended 600 ms after SIGTERM \("killTimeout"\)$/);
  assert.doesNotMatch((await lines(spec)).join('\n'), /token|secret/);
});

test('a worker that has lost its runner and ends itself logs the same lines (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('ending.cjs', quick, { HANDLES: 'SIGTERM', STUBBORN: 'yes' });
  await runner.release(spec);
  await hang(runner, '/hang');
  await runner.kill();
  await runner.launch();
  await runner.release(runner.spec('plain.cjs', quick));
  await line(
    spec,
    /^err sluice: worker \(pid \d+\) cuts GET \/hang: not answered 400 ms after .* \("drainTimeout"\)$/,
  );
  await line(spec, /^err sluice: worker .* killed: it had not ended 600 ms after SIGTERM \("killTimeout"\)$/);
});

test('an app that handles only SIGINT gets SIGINT, with a note; an app that handles both signals gets SIGTERM (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const only = runner.spec('ending.cjs', quick, { HANDLES: 'SIGINT' });
  const mail = background({ HANDLES: 'SIGINT' });
  const booted = await runner.release({ ...only, background: [mail] });
  assert.deepEqual(
    booted.notices.map(({ code }) => code),
    ['sigint_only'],
  );
  await line(only, /pids/);
  const both = runner.spec('ending.cjs', quick, { HANDLES: 'SIGINT SIGTERM' });
  assert.deepEqual((await runner.release(both)).notices, []);
  for (const process of ['web.0', 'mail.0']) {
    const all = await waitFor(async () => {
      const found = await lines(only, process);
      return found.includes('out handles SIGINT') && found;
    });
    assert.ok(all.some((text) => /^err sluice: .* ends it with SIGINT.*"stopSignal"/.test(text)));
  }
  await runner.release(runner.spec('plain.cjs', quick));
  await line(both, /^out handles SIGTERM$/);
  assert.equal((await lines(both)).filter((text) => text === 'out handles SIGINT').length, 2);
});

test('an orphan that handles only SIGINT gets SIGINT (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('ending.cjs', quick, { HANDLES: 'SIGINT' });
  await runner.release(spec);
  await runner.kill();
  await runner.launch();
  await runner.release(runner.spec('plain.cjs', quick));
  await line(spec, /^out handles SIGINT$/);
});

test('"stopSignal" is the signal that ends workers and background processes (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const settings = { ...quick, stopSignal: 'SIGUSR2' };
  const spec = runner.spec('ending.cjs', settings, { HANDLES: 'SIGUSR2 SIGINT' });
  const mail = background({ HANDLES: 'SIGUSR2 SIGINT' });
  const booted = await runner.release({ ...spec, background: [mail] });
  assert.deepEqual(booted.notices, []);
  await line(spec, /pids/);
  await runner.release(runner.spec('plain.cjs', quick));
  await waitFor(
    async () => (await lines(spec)).filter((text) => text === 'out handles SIGUSR2').length === 2,
  );
  assert.equal((await lines(spec)).includes('out handles SIGINT'), false);
});

test('the log line about the end of a worker comes after the last lines of the worker (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('ending.cjs', quick);
  await runner.release(spec);
  await fetchText(runner.port, '/crash').catch(() => undefined);
  await line(spec, /ended with exit status 7/);
  const all = await lines(spec, 'web.0');
  assert.match(all[all.indexOf('out last 4999') + 1] ?? '', /^sys worker 0 .* ended with exit status 7/);
});

function background(env: Record<string, string>): GenerationSpec['background'][number] {
  return {
    ...{ name: 'mail', count: 1, nodeArgs: [], args: [], overlap: false },
    script: join(apps, 'ending.cjs'),
    env,
  };
}
