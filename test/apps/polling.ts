import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { fetchOnce } from '../support/http.ts';
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

/**
 * Acts as a polling socket.io client, with each request on a connection of its own: opens a session, connects, emits
 * `release`, and returns the content of the acknowledgement.
 */
async function askByPolling(endpoint: string): Promise<string> {
  const { sid } = JSON.parse((await ask(endpoint)).slice(1));
  const session = `${endpoint}&sid=${sid}`;
  await ask(session, '40');
  await ask(session);
  await ask(session, '420["release"]');
  const [, answer = 'null'] = /^430(.*)$/.exec(await ask(session)) ?? [];
  return JSON.parse(answer)[0];
}

async function ask(url: string, packet?: string): Promise<string> {
  const response = await fetchOnce(url, packet === undefined ? {} : { method: 'POST', body: packet });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return text;
}
