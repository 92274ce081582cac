import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { appNode } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { workerBoot } from '../support/worker-boot.ts';

const source = (name: string) => fileURLToPath(new URL(`../../src/worker/${name}`, import.meta.url));
const { connectToRunner } = createRequire(import.meta.url)(
  source('runner-socket.cjs'),
) as typeof import('../../src/worker/runner-socket.cjs');

test('a connection that the runner closes, and one without a runner, leave no handle', async (t) => {
  const { path } = await listen(t, (socket) => socket.destroy());
  const alive = new Set<number>();
  const hook = createHook({
    init: (id, type) => void (type === 'PIPEWRAP' && alive.add(id)),
    destroy: (id) => void alive.delete(id),
  }).enable();
  t.after(() => hook.disable());
  let connected = 0;
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const message = () => assert.fail('no message');
    const to = attempt % 2 === 0 ? path : `${path}.none`;
    await new Promise<void>((lost) =>
      connectToRunner(to, { connected: () => (connected += 1), message, lost }),
    );
  }
  assert.equal(connected, 3);
  await waitFor(() => alive.size === 0, { what: 'the end of all handles' });
});

test('a process that cannot join its worker tries again after growing pauses', async (t) => {
  const times: number[] = [];
  const { path, directory } = await listen(t, (socket) => {
    times.push(performance.now());
    socket.destroy();
  });
  const file = join(directory, 'generation');
  const { channelFd, handoffFds, listeningFds, ...boot } = workerBoot({
    ...{ key: 'shop', port: 9001, generationFile: file, orphanSocket: path, drainTimeout: 1000 },
  });
  const program = 'require("http").createServer().listen(9001); setInterval(() => {}, 1000)';
  const child = spawn(appNode, ['--require', source('bootstrap.cjs'), '-e', program], {
    env: { SLUICE_WORKER: JSON.stringify(boot) },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await waitFor(() => times.length === 4, { what: 'four attempts' });
  const [first = 0, , , fourth = 0] = times;
  // A process that is late shortens the time between two connections as seen from here, but not by half.
  assert.ok(fourth - first > 1000, `${fourth - first} ms`);
});

async function listen(t: TestContext, accept: (socket: Socket) => void) {
  const directory = await temporaryDirectory(t);
  const path = join(directory, 'runner.sock');
  const server = createServer(accept).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  return { directory, path };
}
