import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { JobSpec } from '../../src/protocol/runner.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

async function statusOf(runner: TestRunner) {
  return (await runner.client.call('status', {}))[0];
}

function gone(pid: number | undefined): Promise<unknown> {
  return waitFor(async () => pid !== undefined && (await processStartTime(pid)) === undefined, {
    what: `the end of process ${pid}`,
  });
}

test('an app can start and switch while an earlier stop still drains', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { drainTimeout: '60s' }));
  const socket = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  socket.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
  await once(socket, 'data');
  const stopped = runner.client.call('stop', { key: 'shop' });
  await waitFor(async () => (await statusOf(runner))?.active === null);
  await runner.release(runner.spec('plain.cjs'));
  socket.write('body');
  assert.match(String(await once(socket, 'data')), /x-mark: 1/);
  await stopped;
  assert.equal((await statusOf(runner))?.active?.release, 2);
  await runner.release(runner.spec('plain.cjs'));
  for (let asked = 0; asked < 20; asked += 1) assert.equal((await fetchText(runner.port)).body, '3');
});

test('the status of one environment leaves out the others', async (t) => {
  const runner = await TestRunner.start(t);
  const port = await freePort();
  const other = { ...runner.spec('plain.cjs', { workers: 1 }), key: 'other', port };
  other.env['PORT'] = String(port);
  await runner.release(other);
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  const keys = async (params: { key?: string }) =>
    (await runner.client.call('status', params)).map(({ key }) => key).sort();
  assert.deepEqual(await keys({}), ['other', 'shop']);
  assert.deepEqual(await keys({ key: 'shop' }), ['shop']);
  assert.deepEqual(await keys({ key: 'none' }), []);
});

test('a stop during the start of a generation, or a switch, ends all workers (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs'));
  const booting = runner.boot(runner.spec('plain.cjs'));
  const refused = assert.rejects(booting, { code: 'cancelled' });
  await runner.client.call('stop', { key: 'shop' });
  await refused;
  assert.deepEqual(await runner.client.call('status', {}), []);

  await runner.release(runner.spec('plain.cjs'));
  const { generation } = await runner.boot(runner.spec('plain.cjs'));
  const switched = runner.client.call('switch', { key: 'shop', generation });
  await runner.client.call('stop', { key: 'shop' });
  await switched;
  assert.deepEqual(await runner.client.call('status', {}), []);
  await assert.rejects(fetchText(runner.port), { code: 'ECONNREFUSED' });
});

test('a stop also ends the workers of an earlier runner (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  const pid = (await statusOf(runner))?.workers[0]?.pid;
  await runner.kill();
  await runner.launch();
  await waitFor(async () => {
    await runner.client.call('stop', { key: 'shop' });
    return fetchText(runner.port).then(
      () => false,
      () => true,
    );
  });
  await gone(pid);
});

test('a shutdown of the runner leaves no job, even if the job ignores SIGTERM (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  let output = '';
  const job: JobSpec = {
    argv: ['sh', '-c', 'trap "" TERM; echo $$; while :; do sleep 1; done'],
    directory: apps,
    env: { PATH: process.env['PATH'] ?? '' },
    user: null,
    lowPriority: false,
    timeout: 60_000,
  };
  const ended = runner.client.call('job', { job }, { onProgress: ({ text }) => (output += text) });
  ended.catch(() => undefined);
  await waitFor(() => output.includes('\n'));
  const exited = once(runner.process, 'exit');
  runner.process.kill('SIGTERM');
  await exited;
  await gone(Number(output));
});

test('a shutdown of the runner also ends the workers of an earlier runner (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { workers: 1 }));
  const pid = (await statusOf(runner))?.workers[0]?.pid;
  await runner.kill();
  await runner.launch();
  const exited = once(runner.process, 'exit');
  runner.process.kill('SIGTERM');
  await exited;
  await gone(pid);
});
