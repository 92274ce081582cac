import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ServerWaker } from '../../src/runner/wake.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

test('a runner wakes the server by a connection, now or after a time, and the last time counts', async (t) => {
  const { waker, connections } = await create(t);
  waker.wake();
  await waitFor(() => connections() === 1, { what: 'the first connection' });
  waker.wakeIn(60_000);
  waker.wakeIn(20);
  await waitFor(() => connections() === 2, { what: 'the second connection' });
  waker.wakeIn(30);
  waker.wakeIn(null);
  waker.wakeIn(60);
  await waitFor(() => connections() >= 3, { what: 'the third connection' });
  assert.equal(connections(), 3, 'the earlier time was given up');
  waker.wakeIn(null);
});

test('a runner that cannot wake the server reports an error, and does not log that its sockets were stopped', async (t) => {
  const { waker, warnings } = await create(t, 'missing.sock');
  waker.wake();
  const alone = new ServerWaker(undefined, log([]));
  alone.wake();
  assert.throws(() => alone.wakeIn(1000), { code: 'bad_request' });
  assert.throws(() => waker.wakeIn(1000), { code: 'bad_request' });
  const { waker: other, connections } = await create(t);
  assert.throws(() => other.wakeIn(Number.NaN), { code: 'bad_request' });
  other.wake();
  await waitFor(() => connections() === 1, { what: 'a connection after the failed one' });
  assert.deepEqual(warnings, []);
});

async function create(t: TestContext, name = 'api.sock') {
  const directory = await temporaryDirectory(t);
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.resume();
  });
  t.after(() => server.close());
  await once(server.listen(join(directory, 'api.sock')), 'listening');
  const warnings: string[] = [];
  const waker = new ServerWaker(join(directory, name), log(warnings));
  return { waker, warnings, connections: () => count };
}

function log(warnings: string[]) {
  const ignore = () => undefined;
  const warn = (event: string) => void warnings.push(event);
  return { debug: ignore, info: ignore, warn, error: ignore };
}
