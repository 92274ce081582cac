import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const path = fileURLToPath(new URL('../../src/worker/leave.cjs', import.meta.url));
const require = createRequire(import.meta.url);
type Worker = Parameters<typeof import('../../src/worker/leave.cjs').leave>[0];

const rows = [
  { name: 'a worker', commandPid: undefined, isOrphan: true, ending: 'SIGTERM' },
  {
    name: 'a process of an exec worker that cannot open again',
    commandPid: 1,
    isOrphan: false,
    ending: 'SIGTERM',
  },
  { name: 'a process of an exec worker without a runner', commandPid: 1, isOrphan: true, ending: 'drained' },
];

for (const { name, ending, ...state } of rows) {
  test(`${name} ends with ${ending}`, async (t) => {
    // A process leaves once.
    delete require.cache[path];
    const { leave } = require(path) as typeof import('../../src/worker/leave.cjs');
    const ended = Promise.withResolvers<string>();
    t.mock.method(process, 'kill', (pid: number, signal: string) => {
      assert.equal(pid, process.pid);
      ended.resolve(signal);
    });
    const worker = {
      ...state,
      boot: { drainTimeout: 1e9, killTimeout: 1e9, stopSignal: null },
      handoffs: { hasToTake: false },
      drain: { timeLeft: 1000, whenDrained: (drained: () => void) => drained() },
      closeSpareSockets: () => undefined,
      retireAlone: () => undefined,
      noteDrained: () => ended.resolve('drained'),
    };
    leave(worker as unknown as Worker, () => undefined);
    assert.equal(await ended.promise, ending);
  });
}
