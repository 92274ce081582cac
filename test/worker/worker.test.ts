import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FromWorker } from '../../src/protocol/worker.ts';
import { Handoff } from '../../src/runner/handoff.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { workerBoot } from '../support/worker-boot.ts';

const path = fileURLToPath(new URL('../../src/worker/worker.cjs', import.meta.url));
const { Worker } = createRequire(import.meta.url)(path) as typeof import('../../src/worker/worker.cjs');

test('a process that listens on other ports only confirms each retirement', async (t) => {
  const directory = await temporaryDirectory(t);
  const pair = await Handoff.create(directory, () => undefined);
  t.after(() => pair.close());
  const file = `${directory}/none`;
  const place = { key: 'shop', port: 9001, generationFile: file, orphanSocket: file, drainTimeout: 1000 };
  const worker = new Worker({ ...workerBoot(place), stopSignal: 'SIGTERM' });
  const said: string[] = [];
  const { fd: take, constructor: Pipe } = handleOf(pair.take);
  worker.attach({
    post: ({ type }: FromWorker) => void said.push(type),
    ...{ Pipe, sockets: [], handoffId: '', commandPid: 1 },
    ends: { take, give: handleOf(pair.give).fd },
  });
  for (let attempt = 0; attempt < 2; attempt += 1) {
    worker.receive({ type: 'open', wait: false });
    worker.receive({ type: 'retire', last: false });
    assert.deepEqual(said.splice(0), ['opened', 'retired', 'drained']);
  }
});

function handleOf(socket: unknown): { fd: number } {
  return (socket as { _handle: { fd: number } })._handle;
}
