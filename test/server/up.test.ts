import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, stat } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AppError } from '../../src/errors/app-error.ts';
import { exitStatus } from '../../src/server/program.ts';
import { takeHome } from '../../src/server/up.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { Inspector } from '../soak/inspector.ts';
import { answering, answeringOnceThereIs } from '../support/apps.ts';
import { freePort } from '../support/free-port.ts';
import { fetchOnce } from '../support/http.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const entry = fileURLToPath(new URL('../../src/server/up.ts', import.meta.url));

test('an empty home becomes private, and no other directory does', async (t) => {
  const home = await temporaryDirectory(t);
  const mode = async () => (await stat(home)).mode & 0o777;
  await chmod(home, 0o755);
  await takeHome(home);
  assert.equal(await mode(), 0o700);
  await chmod(home, 0o755);
  await writeJsonAtomic(`${home}/config.json`, {});
  await takeHome(home);
  assert.equal(await mode(), 0o755);
  await takeHome(`${home}/missing`);
});

test('a second `sluice up` with the same home is refused, and the first one keeps running', async (t) => {
  const sluice = await startSluice(t);
  const { code, errors } = await runUp(sluice.home);
  assert.equal(code, exitStatus.anotherIsUp);
  assert.match(errors, /is already running/);
  assert.equal((await sluice.request('/healthz')).status, 200);
});

test('a port in use is reported, and no process or file stays (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  await writeJsonAtomic(`${home}/config.json`, { listen: { port } });
  const { code, errors } = await runUp(home);
  assert.equal(code, 1);
  assert.match(errors, new RegExp(`port ${port} of .+ is in use`));
  assert.equal((await runUp(home)).code, 1, 'the lock is free again');
});

test('two homes cannot share a port (thorough)', async (t) => {
  const port = await freePort();
  const first = await startSluice(t, { settings: { listen: { port } } });
  const home = await temporaryDirectory(t);
  await writeJsonAtomic(`${home}/config.json`, { listen: { port } });
  const { code, errors } = await runUp(home);
  assert.equal(code, 1);
  assert.match(errors, new RegExp(`port ${port} of .+ is in use`));
  assert.equal((await first.request('/healthz')).status, 200);
});

test('the port of the API is held while the server is down, until Sluice is stopped (thorough)', {
  skip: process.platform !== 'linux' && 'ports are held on Linux only',
}, async (t) => {
  const port = await freePort();
  const sluice = await startSluice(t, { settings: { listen: { port } } });
  const listen = async () => {
    const server = createServer().listen({ port, host: '127.0.0.1', exclusive: true });
    try {
      await once(server, 'listening');
    } finally {
      server.close();
    }
  };
  await sluice.kill();
  await assert.rejects(listen(), { code: 'EADDRINUSE' });
  await sluice.up();
  assert.equal(new URL(sluice.url).port, String(port));
  assert.equal(await sluice.stop(), 0);
  await listen();
});

test('all faults of the settings are reported (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  await writeJsonAtomic(`${home}/config.json`, { listen: { port: 'many' }, colour: 'red' });
  const { code, errors } = await runUp(home);
  assert.equal(code, 1);
  assert.match(errors, /2 faults/);
});

test('an uncaught exception is logged with its stack, and the server exits with the status of a crash (thorough)', async (t) => {
  const sluice = await startSluice(t, { env: { NODE_OPTIONS: '--inspect=0' } });
  {
    using inspector = await Inspector.attach(sluice.pid);
    await inspector.evaluate(`setTimeout(function faulty() { throw new Error('boom') }, 200), 0`);
  }
  assert.equal(await sluice.ended(), exitStatus.crashed);
  const crash = (await sluice.log()).find(({ msg }) => msg === 'crashed');
  assert.equal(crash?.['level'], 'error');
  assert.match(String(crash?.['error']), /^Error: boom\n {4}at .*faulty/);
});

test('the log level of the settings applies to the server and its runner (thorough)', async (t) => {
  const quiet = await startSluice(t, { settings: { logLevel: 'warn' } });
  await quiet.call('GET', '/v1/apps');
  assert.equal(await quiet.stop(), 0);
  assert.equal(await readFile(quiet.paths.log, 'utf8'), '');
  const usual = await startSluice(t);
  const ready = (await usual.log()).filter(({ msg }) => msg === 'ready');
  assert.deepEqual(ready.map(({ source }) => source).sort(), ['runner', 'server']);
});

test('on SIGTERM it ends deploys, apps and the runner, and exits with 0 (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('live'));
  const { workers } = await sluice.status('shop');
  const { runner } = await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status');
  const deploy = sluice.deploy('shop', answeringOnceThereIs('/nonexistent', 'never'));
  deploy.catch(() => undefined);
  await waitFor(async () => (await sluice.status('shop')).deploying.length > 0, { what: 'a deploy' });

  // Somebody who goes on watching makes the stop wait a little, and no new runner is to be started meanwhile.
  const logs = await sluice.request('/v1/apps/shop/logs?follow=1');

  assert.equal(await sluice.stop(), 0);
  await assert.rejects(logs.text(), 'the watcher is hung up on');
  assert.equal((await sluice.log()).filter(({ msg }) => msg === 'runner connected').length, 1);
  await assert.rejects(deploy, (error: AppError) => error.code === 'stopping' && error.status === 503);
  for (const pid of [runner.pid, ...workers.map((worker) => worker.pid)]) {
    await waitFor(async () => (await processStartTime(pid)) === undefined, {
      what: `the end of process ${pid}`,
    });
  }

  await sluice.up();
  await sluice.untilRunning('shop');
  assert.equal(await sluice.get('shop'), 'live');
  assert.equal((await sluice.releases('shop'))[0]?.error?.code, 'stopping');
});

test('only the owner can open the unix socket, and needs no token', async (t) => {
  const sluice = await startSluice(t);
  const { serverSocket: socketPath } = sluice.paths;
  assert.equal((await stat(socketPath)).mode & 0o777, 0o600);
  const [answer] = await once(get({ socketPath, path: '/v1/apps', agent: false }), 'response');
  answer.resume();
  assert.equal(answer.statusCode, 200);
  assert.equal((await fetchOnce(`${sluice.url}/v1/apps`)).status, 401, 'by TCP it does');
});

async function runUp(home: string): Promise<{ code: number | null; errors: string }> {
  const child = spawn(process.execPath, [entry], {
    env: { ...process.env, SLUICE_HOME: home },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const [code] = await once(child, 'close');
  return { code, errors };
}
