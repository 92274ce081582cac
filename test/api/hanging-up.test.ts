import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
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

test('an app is removed as soon as the client of a hold has disconnected', async () => {
  await sluice.call('DELETE', '/v1/apps/shop?confirm=shop');
  assert.deepEqual(await sluice.call('GET', '/v1/apps'), []);
});

/** Sends the head of a call. */
function ask(client: Socket, call: string, headers: string[]): Socket {
  client.on('error', () => undefined);
  const all = ['Host: x', `Authorization: Bearer ${sluice.token}`, ...headers];
  client.write(`${call} HTTP/1.1\r\n${all.join('\r\n')}\r\n\r\n`);
  return client;
}
