import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { takePassedSockets } from '../../src/system/process/systemd.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('with sockets of systemd, connections wait while no server runs, and no other server is needed for nginx', async (t) => {
  const { sluice, path } = await withSockets(t);
  const { port } = new URL(sluice.url);
  const ways = [{ host: '127.0.0.1', port }, { socketPath: path }];
  for (const way of ways) assert.equal(await statusOf(way, sluice.token), 200);
  for (let round = 0; round < 3; round += 1) {
    await sluice.kill();
    const asked = ways.map((way) => statusOf(way, sluice.token));
    await sluice.up();
    assert.deepEqual(await Promise.all(asked), [200, 200]);
    assert.equal(
      new URL(sluice.url).port,
      port,
      'the address is that of the socket, whatever config.json says',
    );
  }
});

test('a request through the unix socket for nginx needs a token', async (t) => {
  const { path } = await withSockets(t);
  assert.equal(await statusOf({ socketPath: path }, 'none'), 401);
});

test('no process that the server starts inherits the sockets', {
  skip: process.platform !== 'linux' && 'there is no /proc',
}, async (t) => {
  const { sluice } = await withSockets(t);
  for (const fd of [3, 4]) {
    const info = await readFile(`/proc/${sluice.pid}/fdinfo/${fd}`, 'utf8');
    const flags = Number.parseInt(/^flags:\t0*(\d+)$/m.exec(info)?.[1] ?? '', 8);
    assert.ok(flags & 0o2000000, `close-on-exec: ${info}`);
  }
  const environment = await readFile(`/proc/${sluice.pid}/environ`, 'utf8');
  assert.match(environment, /LISTEN_FDS=2/, 'it was given them');
});

test('sockets that were passed to another process are not used, and the variables are removed', () => {
  const env = { LISTEN_PID: String(process.pid + 1), LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b', OTHER: 'x' };
  assert.deepEqual(takePassedSockets(env), []);
  assert.deepEqual(env, { OTHER: 'x' } as object);
  const passed = { LISTEN_PID: String(process.pid), LISTEN_FDS: '2' };
  assert.deepEqual(takePassedSockets({ ...passed, LISTEN_FDNAMES: 'a:b' }), [
    { fd: 3, name: 'a' },
    { fd: 4, name: 'b' },
  ]);
  assert.deepEqual(
    takePassedSockets(passed).map(({ fd }) => fd),
    [3, 4],
  );
  assert.deepEqual(takePassedSockets({ LISTEN_PID: String(process.pid), LISTEN_FDS: 'x' }), []);
});

async function withSockets(t: TestContext) {
  const path = join(await temporaryDirectory(t), 'api.sock');
  return { path, sluice: await startSluice(t, { apiSocket: path }) };
}

async function statusOf(way: object, token: string): Promise<number | undefined> {
  const headers = { authorization: `Bearer ${token}` };
  return new Promise((resolve, reject) => {
    request({ ...way, path: '/v1/status', headers, agent: false }, (response) => {
      text(response).then(() => resolve(response.statusCode), reject);
    })
      .on('error', reject)
      .end();
  });
}
