import assert from 'node:assert/strict';
import { once } from 'node:events';
import { stat, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

/** Returns a runner, and the path of a unix socket that its app opens besides its port. */
async function start(t: TestContext) {
  const [runner, directory] = [await TestRunner.start(t), await temporaryDirectory(t)];
  const path = join(directory, 'app.sock');
  const spec = (settings: object = {}, environment: Record<string, string> = {}) =>
    runner.spec('listening.cjs', settings, { HOW: 'unix-socket', SOCKET_PATH: path, ...environment });
  return { runner, path, spec };
}

/** Returns the answer of the server at the path. */
function ask(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ socketPath, agent: false }, (response) => text(response).then(resolve, reject)).on('error', reject);
  });
}

for (const UNLINK of ['', 'yes']) {
  const title = UNLINK ? 'removed by the app before it listens' : 'left to the app';
  test(`a unix socket that is ${title} leads to the live release, over deploys of two workers and a death`, async (t) => {
    const { runner, path, spec } = await start(t);
    await runner.release(spec({}, { UNLINK }));
    assert.equal(await ask(path), '1');
    for (const mark of ['2', '3']) {
      const { generation } = await runner.boot(spec({}, { UNLINK }));
      assert.equal(await ask(path), String(Number(mark) - 1));
      await runner.client.call('switch', { key: 'shop', generation });
      assert.equal(await ask(path), mark);
    }
    assert.equal((await stat(path)).mode & 0o777, 0o666);
    const pids = async () => (await runner.client.call('status', {}))[0]?.workers.map(({ pid }) => pid) ?? [];
    await waitFor(async () => (await pids()).length === 2, { what: 'the end of the retired workers' });
    const victims = await pids();
    for (const pid of victims) process.kill(pid, 'SIGKILL');
    await waitFor(async () => {
      const [status] = await runner.client.call('status', {});
      const open = status?.workers.filter(({ state }) => state === 'open') ?? [];
      return open.length === 2 && open.every(({ pid }) => !victims.includes(pid));
    });
    assert.equal(await ask(path), '3');
    await runner.client.call('stop', { key: 'shop' });
    await assert.rejects(ask(path), { code: 'ENOENT' });
  });
}

test('no request on a unix socket is lost over switches under load', async (t) => {
  const { runner, path, spec } = await start(t);
  await runner.release(spec());
  let [answered, isOver] = [0, false];
  const errors: string[] = [];
  const clients = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      await ask(path).then(
        () => (answered += 1),
        (error: Error) => errors.push(error.message),
      );
    }
  });
  t.after(() => {
    isOver = true;
  });
  for (let switches = 0; switches < 4; switches += 1) {
    const before = answered;
    await waitFor(() => answered > before + 100, { what: 'the load' });
    await runner.release(spec());
  }
  isOver = true;
  await Promise.all(clients);
  assert.deepEqual(errors, []);
  assert.equal(await ask(path), '5');
});

test('an unhealthy release answers on no unix socket (thorough)', async (t) => {
  const { runner, path, spec } = await start(t);
  const failing = () => spec({ bootTimeout: '5s' }, { STATUS: '500', UNLINK: 'yes' });
  await assert.rejects(runner.boot(failing()), { code: 'health_failed' });
  await assert.rejects(ask(path), { code: 'ECONNREFUSED' });
  const { release } = spec();
  await runner.release({ ...spec(), release: release + 1 });
  const live = await ask(path);
  await assert.rejects(runner.boot(failing()), { code: 'health_failed' });
  assert.equal(await ask(path), live);
});

for (const what of ['socket of another process', 'file']) {
  test(`the ${what} at the path of a unix socket fails the boot and stays`, async (t) => {
    const { runner, path, spec } = await start(t);
    const owner = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine'));
    t.after(() => owner.close());
    if (what === 'file') await writeFile(path, 'mine');
    else await once(owner.listen(path), 'listening');
    await assert.rejects(runner.boot(spec()), (error: Error) => {
      assert.match(error.message, /listen EADDRINUSE: address already in use .*app\.sock/);
      return true;
    });
    if (what === 'file') assert.equal((await stat(path)).size, 4);
    else assert.equal(await ask(path), 'mine');
    await assert.rejects(fetchText(runner.port));
  });
}
