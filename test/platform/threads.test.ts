import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { BroadcastChannel, MessageChannel, Worker, type WorkerOptions } from 'node:worker_threads';

test('a thread serves HTTP', async (t) => {
  const [port] = await once(start(t, { task: 'serve' }), 'message');
  const [answer] = (await once(get({ port, host: '127.0.0.1', agent: false }), 'response')) as [
    IncomingMessage,
  ];
  assert.equal((await text(answer)).length, 1_000_000);
});

test('messages are copied, and a transferred object is no longer usable by its sender', async (t) => {
  const thread = start(t, { task: 'echo' });
  const value = {
    text: '語',
    date: new Date(0),
    map: new Map([[1, new Set([2n])]]),
    error: new RangeError('x'),
  };
  thread.postMessage({ value });
  assert.deepEqual((await once(thread, 'message'))[0], value);
  const { buffer } = new Uint8Array([1, 2, 3]);
  thread.postMessage({ value: buffer }, [buffer]);
  assert.equal(buffer.byteLength, 0);
  assert.deepEqual(new Uint8Array((await once(thread, 'message'))[0]), new Uint8Array([1, 2, 3]));
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  thread.postMessage({ value: port2, move: [port2] }, [port2]);
  const [returned] = await once(thread, 'message');
  const heard = once(port1, 'message');
  returned.postMessage('語');
  assert.deepEqual(await heard, ['語']);
});

test('threads share memory, and wait for each other with Atomics', async (t) => {
  const shared = new SharedArrayBuffer(8);
  const cells = new Int32Array(shared);
  const thread = start(t, { task: 'sum', shared });
  const exited = once(thread, 'exit');
  Atomics.store(cells, 0, 1);
  Atomics.notify(cells, 0);
  await exited;
  assert.equal(Atomics.load(cells, 1), 41);
});

test('a thread whose event loop stands still can be terminated', async (t) => {
  const thread = start(t, { task: 'loop' });
  await once(thread, 'message');
  assert.equal(await thread.terminate(), 1);
});

test('an uncaught error ends only its thread, and the parent gets the error', async (t) => {
  const thread = start(t, { task: 'fail' });
  const exited = new Promise((resolve) => thread.once('exit', resolve));
  const [error] = await once(thread, 'error');
  assert.ok(error instanceof TypeError);
  assert.equal(error.message, 'of the thread');
  assert.equal(await exited, 1);
});

test('a thread that exceeds its memory limit ends alone', async (t) => {
  const thread = start(t, { task: 'grow' }, { resourceLimits: { maxOldGenerationSizeMb: 16 } });
  const [error] = await once(thread, 'error');
  assert.equal(error.code, 'ERR_WORKER_OUT_OF_MEMORY');
});

test('the output of a thread arrives whole', async (t) => {
  const thread = start(t, { task: 'print' }, { stdout: true, stderr: true });
  assert.equal((await text(thread.stdout)).length, 100_000);
  assert.equal(await text(thread.stderr), 'error');
});

test('a channel reaches all that listen on it', async (t) => {
  const [sender, ...listeners] = Array.from({ length: 3 }, () => new BroadcastChannel('platform'));
  t.after(() => {
    for (const channel of [sender, ...listeners]) channel?.close();
  });
  const heard = listeners.map(
    (channel) =>
      new Promise((resolve) => (channel.onmessage = (event) => resolve((event as MessageEvent).data))),
  );
  sender?.postMessage('語');
  assert.deepEqual(await Promise.all(heard), ['語', '語']);
});

function start(t: TestContext, workerData: Record<string, unknown>, options: WorkerOptions = {}): Worker {
  const thread = new Worker(join(import.meta.dirname, '../fixtures/platform/thread.mjs'), {
    workerData,
    ...options,
  });
  t.after(() => thread.terminate());
  return thread;
}
