import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { listDirectory } from '../../src/system/fs/files.ts';
import { answering } from '../support/apps.ts';
import { firstPort } from '../support/free-port.ts';
import { Checkout } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

test('a push to a full disk is refused before git receives it', async (t) => {
  const sluice = await startSluice(t, { settings: { minFreeBytes: '1000000G' } });
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  const { code, output } = await checkout.try('push', sluice.gitUrl('full'), 'main');
  assert.notEqual(code, 0);
  assert.match(output, /the disk of .+ has .+ of free space, but .+ must remain free/);
  assert.ok(!(await listDirectory(sluice.paths.apps)).includes('full'));
});

test('a server without git refuses pushes with that reason, and nothing stays (thorough)', async (t) => {
  const sluice = await startSluice(t, { env: { PATH: '/nonexistent' } });
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  const { code, output } = await checkout.try('push', sluice.gitUrl('without'), 'main');
  assert.notEqual(code, 0);
  assert.match(output, /git not found in the PATH of the server\n.*apt-get install git/);
  assert.ok(!(await listDirectory(sluice.paths.apps)).includes('without'));
});

test('a push that is cut off leaves no objects behind (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  await checkout.git('push', sluice.gitUrl('broken'), 'main');
  const objects = join(sluice.paths.repository('broken'), 'objects');
  const received = async () => (await listDirectory(objects)).filter((name) => name.includes('incoming'));
  await checkout.commit('Large', { 'data.bin': randomBytes(10 * 1024 ** 2) });
  const way = await thatStops(t, Number(new URL(sluice.url).port), 5 * 1024 ** 2);
  const url = sluice.gitUrl('broken').replace(new URL(sluice.url).host, `127.0.0.1:${way.port}`);
  const push = checkout.start('push', url, 'main');
  await waitFor(async () => (await received()).length > 0, { what: 'the first objects' });
  process.kill(-(push.process.pid as number), 'SIGKILL');
  await push.ended;
  way.breakOff();
  await waitFor(async () => (await received()).length === 0, { what: 'their end' });
  assert.equal((await sluice.releases('broken')).length, 1);
});

/** Forwards a limited number of bytes to a port, until `breakOff`. */
async function thatStops(t: TestContext, to: number, bytes: number) {
  const sockets: Socket[] = [];
  let left = bytes;
  const server = createServer((client) => {
    const there = connect(to, '127.0.0.1');
    sockets.push(client, there);
    for (const socket of [client, there]) socket.on('error', () => undefined);
    there.pipe(client);
    client.on('end', () => there.end());
    client.on('data', (chunk) => {
      there.write(chunk);
      left -= chunk.length;
      if (left <= 0) client.pause();
    });
  }).listen(0, '127.0.0.1');
  const breakOff = () => {
    for (const socket of sockets) socket.destroy();
  };
  t.after(() => {
    server.close();
    breakOff();
  });
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, breakOff };
}

test('the URL of an app has the configured host name (thorough)', async (t) => {
  const apps = { hostname: 'example.com', firstPort: await firstPort() };
  const sluice = await startSluice(t, { settings: { apps } });
  const { url } = await sluice.deploy('named', answering('one'));
  assert.match(url, /^http:\/\/example\.com:\d+$/);
});
