import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readlink } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { answering } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile, { settings: { logLevel: 'debug' } });
await sluice.deploy('shop', answering('shop'));

/** Calls whose answers end when their clients disconnect, with the beginning of the answer. */
const endless = {
  'POST /v1/hold': /held/,
  'GET /v1/apps/shop/logs?follow=1': /200 OK/,
};

const listeners = {
  TCP: (): Socket =>
    connect({ port: Number(new URL(sluice.url).port), host: '127.0.0.1', allowHalfOpen: true }),
  'a unix socket': (): Socket => connect({ path: sluice.paths.serverSocket, allowHalfOpen: true }),
};

const endings: Record<string, (client: Socket) => void> = {
  FIN: (client) => client.destroy(),
  RST: (client) => client.resetAndDestroy(),
  'half-close': (client) => client.end(),
};

for (const [call, begun] of Object.entries(endless)) {
  for (const [name, open] of Object.entries(listeners)) {
    for (const [ending, hangUp] of Object.entries(endings)) {
      // Unix sockets have no RST.
      if (ending === 'RST' && name !== 'TCP') continue;

      test(`${call} ends when its client disconnects by ${ending} on ${name}`, async () => {
        const id = `${name}-${ending}-${call}`.replaceAll(/\W/g, '-');
        const client = ask(open(), call, [`X-Request-Id: ${id}`]);
        let answer = '';
        while (!begun.test(answer)) answer += (await once(client, 'data'))[0];
        hangUp(client);
        const isOver = async () =>
          (await sluice.log()).some(({ msg, requestId }) => msg === 'request' && requestId === id);
        await waitFor(isOver, { what: 'the end of the request' });
        client.destroy();
      });
    }
  }

  // While a body is unread, the server does not notice a disconnect.
  for (const header of ['Content-Length: 300000', 'Transfer-Encoding: chunked']) {
    test(`${call} refuses a body (${header})`, async () => {
      const client = ask(listeners.TCP(), call, [header]);
      const [answer] = await once(client, 'data');
      client.destroy();
      assert.match(String(answer), /^HTTP\/1\.1 400 [\s\S]*takes no body/);
    });
  }
}

test('a client that disconnects leaves no log open, even with several requests on one connection', async () => {
  for (const method of ['GET', 'HEAD']) {
    for (const path of ['releases/1/log', 'logs', 'logs?follow=1']) {
      const call = `${method} /v1/apps/shop/${path}`;
      for (let round = 0; round < 30; round += 1) {
        const client = listeners.TCP();
        await once(client, 'connect');
        for (let times = 0; times < 3; times += 1) ask(client, call, []);
        client.resume();
        await sleep(round % 10);
        client.resetAndDestroy();
      }
    }
  }
  await waitFor(async () => (await openLogs()).length === 0, { what: 'closed logs' });
});

test('an app is removed as soon as the client of a hold has disconnected', async () => {
  await sluice.call('DELETE', '/v1/apps/shop?confirm=shop');
  assert.deepEqual(await sluice.call('GET', '/v1/apps'), []);
});

/** Returns the paths of the logs of releases and apps that the server has open. */
async function openLogs(): Promise<string[]> {
  const directory = `/proc/${sluice.pid}/fd`;
  const links = (await readdir(directory)).map((fd) => readlink(join(directory, fd)).catch(() => ''));
  return (await Promise.all(links)).filter((path) => /\/(?:build|app)\.log$/.test(path));
}

/** Sends the head of a call. */
function ask(client: Socket, call: string, headers: string[]): Socket {
  client.on('error', () => undefined);
  const all = ['Host: x', `Authorization: Bearer ${sluice.token}`, ...headers];
  client.write(`${call} HTTP/1.1\r\n${all.join('\r\n')}\r\n\r\n`);
  return client;
}
