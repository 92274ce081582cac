import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { availableParallelism } from 'node:os';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { startSluice } from '../support/server.ts';
import { sourcesOf } from './sources.ts';

test('polling socket.io clients are served, even if the app has an adapter, and the log says why there is one worker', async (t) => {
  const sluice = await startSluice(t);
  const log: string[] = [];
  for await (const event of sluice.watchDeploy('chat', await sourcesOf('socketio'))) {
    if (event.event === 'log') log.push(event.line);
  }
  const { url, workers } = await sluice.status('chat');
  assert.equal(workers.length, 1);
  if (availableParallelism() > 1) {
    assert.match(log.join('\n'), /1 worker, not \d+: socket\.io has clients that poll/);
  }
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => askByPolling(`${url}/socket.io/?EIO=4&transport=polling`)),
  );
  assert.deepEqual(new Set(answers), new Set(['release 1.']));
});

test('with "affinity": "client", polling socket.io clients are served by several workers, also over a restart of one of them', async (t) => {
  const sluice = await startSluice(t);
  const files = { ...(await sourcesOf('socketio')), 'sluice.json': { affinity: 'client', workers: 3 } };
  await sluice.deploy('chat', files);
  const { port } = await sluice.status('chat');
  const all = () =>
    Promise.all(
      Array.from({ length: 24 }, (_, index) =>
        askByPolling(`http://127.0.0.1:${port}/socket.io/?EIO=4&transport=polling`, `127.0.0.${index + 2}`),
      ),
    );
  assert.deepEqual(new Set(await all()), new Set(['release 1.']));
  const [worker] = (await sluice.status('chat')).workers;
  process.kill(worker?.pid ?? 0, 'SIGKILL');
  assert.deepEqual(new Set(await all()), new Set(['release 1.']));
  await sluice.deploy('chat', files);
  assert.deepEqual(new Set(await all()), new Set(['release 2.']));
});

/**
 * Acts as a polling socket.io client, with each request on a connection of its own: opens a session, connects, emits
 * `release`, and returns the content of the acknowledgement.
 */
async function askByPolling(endpoint: string, localAddress = '127.0.0.1'): Promise<string> {
  const { sid } = JSON.parse((await ask(endpoint, localAddress)).slice(1));
  const session = `${endpoint}&sid=${sid}`;
  await ask(session, localAddress, '40');
  await ask(session, localAddress);
  await ask(session, localAddress, '420["release"]');
  const [, answer = 'null'] = /^430(.*)$/.exec(await ask(session, localAddress)) ?? [];
  return JSON.parse(answer)[0];
}

async function ask(url: string, localAddress: string, packet?: string): Promise<string> {
  const method = packet === undefined ? 'GET' : 'POST';
  const asked = request(url, { method, localAddress, agent: false }).end(packet);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  const body = await text(response);
  assert.equal(response.statusCode, 200, body);
  return body;
}
