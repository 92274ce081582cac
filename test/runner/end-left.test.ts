import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { answering } from '../support/apps.ts';
import { processesOfHome } from '../support/processes.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const entry = fileURLToPath(new URL('../../src/runner/end-left.ts', import.meta.url));

async function endLeft(home: string): Promise<string> {
  return (
    await promisify(execFile)(process.execPath, [entry], { env: { ...process.env, SLUICE_HOME: home } })
  ).stdout;
}

const withBackground = {
  ...answering('live', { workers: 2, processes: { mailer: 'node mailer.js' }, drainTimeout: '1s' }),
  'mailer.js': 'setInterval(() => {}, 1000);',
};

async function runnerPid(sluice: Sluice): Promise<number> {
  return (await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status')).runner.pid;
}

async function untilNothingRuns({ home }: Sluice): Promise<void> {
  await waitFor(async () => (await processesOfHome(home)).length === 0, { what: 'no process of the home' });
}

test('all processes that a dead server and a dead runner have left are ended, even a worker that stands still', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', withBackground);
  // Background processes start after the switch.
  const isRunning = async () => (await sluice.status('shop')).background[0]?.state === 'running';
  await waitFor(isRunning, { what: 'the background process' });
  const { workers } = await sluice.status('shop');
  const runner = await runnerPid(sluice);
  await sluice.kill();
  process.kill(runner, 'SIGKILL');
  process.kill(workers[0]?.pid ?? 0, 'SIGSTOP');
  assert.match(
    await endLeft(sluice.home),
    /^sluice: ended shop, which was still running \(process \d+, \d+, \d+\)\n$/,
  );
  await untilNothingRuns(sluice);
  assert.equal(await endLeft(sluice.home), '', 'a second call has nothing to end');
});

test('a living server and a living runner are ended in order, together with their apps (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', withBackground);
  assert.match(
    await endLeft(sluice.home),
    new RegExp(`^sluice: ending the server \\(process ${sluice.pid}\\)\n$`),
  );
  assert.equal(await sluice.ended(), 0);
  await untilNothingRuns(sluice);

  await sluice.up();
  await sluice.untilRunning('shop');
  await sluice.kill();
  const output = await endLeft(sluice.home);
  assert.match(
    output,
    /^sluice: ending the runner \(process \d+\)\nsluice: ended shop, which was still running/,
  );
  await untilNothingRuns(sluice);
});

test('in a home in which nothing has ever run, there is nothing to end', async (t) => {
  assert.equal(await endLeft(await temporaryDirectory(t)), '');
});
