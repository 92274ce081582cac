import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import * as v from 'valibot';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { warmUp } from '../../src/runner/generation/warmup.ts';

const signal = new AbortController().signal;
const settings = (written: object) => v.parse(appSettingsSchema, written);

test('a healthy worker gets the request of the health check a few more times', async (t) => {
  const requests: string[] = [];
  const worker = await listen(t, ({ method, url, headers }, response) => {
    requests.push(`${method} ${url} ${headers['x-check']}`);
    response.end();
  });
  const health = { path: '/health', headers: { 'x-check': 'yes' }, body: 'no such text' };
  await warmUp(worker, settings({ health }), signal);
  assert.deepEqual(requests, Array(10).fill('GET /health yes'));
});

test('"warmup" names other paths and their number, and no answer has an effect', async (t) => {
  const requests: (string | undefined)[] = [];
  const worker = await listen(t, ({ url }, response) => {
    requests.push(url);
    if (url === '/a') response.writeHead(500).end();
    else response.destroy();
  });
  await warmUp(worker, settings({ warmup: { paths: ['/a', '/b'], count: 2 } }), signal);
  assert.deepEqual(requests, ['/a', '/b', '/a', '/b']);
  await warmUp(worker, settings({ warmup: { count: 0 } }), signal);
  assert.equal(requests.length, 4);
});

test('a boot waits for slow pages only for a time, and not once it is cancelled', async (t) => {
  let requests = 0;
  const worker = await listen(t, () => {
    requests += 1;
  });
  await warmUp(worker, settings({}), signal, 50);
  assert.ok(requests <= 1);
  const cancelled = new AbortController();
  const warmed = warmUp(worker, settings({}), cancelled.signal, 60_000);
  cancelled.abort(new Error('cancelled'));
  await assert.rejects(warmed, /cancelled/);
});

test('a server of node:net gets no request', async (t) => {
  let requests = 0;
  const { port } = await listen(t, () => {
    requests += 1;
  });
  await warmUp({ port, protocol: 'tcp' }, settings({}), signal);
  assert.equal(requests, 0);
});

async function listen(t: TestContext, answer: RequestListener) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, protocol: 'http' as const };
}
