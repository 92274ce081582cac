import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FromWorker } from '../../src/protocol/worker.ts';
import { Allowance } from '../../src/runner/allowance.ts';
import { WorkerMessages } from '../../src/runner/generation/worker-channel.ts';

const messages: FromWorker[] = [
  { type: 'ready', port: 40_000, protocol: 'http', listens: 9001, onlyInterrupt: true },
  { type: 'request', method: 'GET', path: '/a?b' },
  { type: 'inFlight', requests: 2, connections: 1 },
  { type: 'opened' },
  { type: 'beat', eventLoopDelayMs: 0.3, connections: 12, requests: 3 },
  { type: 'memoryExceeded', bytes: 200 * 1024 ** 2 },
  { type: 'retired' },
  { type: 'inFlight', requests: Number.MAX_SAFE_INTEGER, connections: 0 },
  { type: 'drained' },
];
const lines = messages.map((message) => `${JSON.stringify(message)}\n`).join('');

/** Pseudo-random numbers below `limit`, the same ones in each run. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Reads bytes in chunks of random size. Each chunk is a part of a larger buffer with stale bytes around it. */
function read(bytes: Buffer, next: (limit: number) => number): { read: FromWorker[]; refused: boolean } {
  const reader = new WorkerMessages();
  const read: FromWorker[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + next(next(4) === 0 ? 70_000 : 40);
    const part = bytes.subarray(at, at + size);
    const pool = Buffer.alloc(65_536 + part.length, '{"type":"retired"}\n');
    part.copy(pool, 1000);
    for (const message of reader.push(pool.subarray(1000, 1000 + part.length))) {
      if (message === undefined) return { read, refused: true };
      read.push(message);
    }
    at += size;
  }
  return { read, refused: false };
}

test('messages are read whole for any split into chunks (thorough)', () => {
  const next = random(1);
  for (let round = 0; round < 200; round += 1) {
    const times = 1 + next(2000);
    const found = read(Buffer.from(lines.repeat(times)), next);
    assert.equal(found.refused, false);
    assert.equal(found.read.length, messages.length * times);
    assert.deepEqual(found.read.slice(-messages.length), messages);
  }
});

test('bytes that are not a message are refused, and nothing after them is read', () => {
  const bad = [
    '',
    'null',
    '0',
    '[]',
    '"retired"',
    'garbage',
    '{"type":"retired"',
    '{"type":"open"}',
    '{"type":"__proto__"}',
    '{"type":["retired"]}',
    '{"type":"memoryExceeded"}',
    '{"type":"memoryExceeded","bytes":-1}',
    '{"type":"memoryExceeded","bytes":1.5}',
    '{"type":"memoryExceeded","bytes":1e300}',
    '{"type":"memoryExceeded","bytes":"1"}',
    '{"type":"ready","port":0,"protocol":"http","listens":1}',
    '{"type":"ready","port":65536,"protocol":"http","listens":1}',
    '{"type":"ready","port":"/etc/passwd","protocol":"http","listens":1}',
    '{"type":"ready","port":1,"protocol":"file","listens":1}',
    '{"type":"beat","eventLoopDelayMs":null,"connections":1,"requests":1}',
    '{"cmd":"NODE_HANDLE_ACK"}',
    '{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"type":"retired"}}',
    `{"type":"retired","more":"${'x'.repeat(1024)}"}`,
    `${'['.repeat(2000)}`,
    '\u2028{"type":"retired"}',
    '\0',
    '\xff\xfe',
  ];
  const next = random(2);
  for (const line of bad) {
    for (let round = 0; round < 20; round += 1) {
      const found = read(Buffer.from(`${lines}${line}\n${lines}`, 'latin1'), next);
      assert.equal(found.refused, true, line.slice(0, 60));
      assert.deepEqual(found.read, messages, line.slice(0, 60));
    }
  }
});

test('random bytes are refused, and a line without an end is refused before it ends', () => {
  const next = random(3);
  for (let round = 0; round < 500; round += 1) {
    const bytes = Buffer.from(Array.from({ length: 2000 }, () => next(256)));
    assert.equal(read(bytes, next).refused, true);
  }
  assert.equal(read(Buffer.alloc(1100, '1'), next).refused, true);
});

test('unknown fields are not passed on', () => {
  const [message] = new WorkerMessages().push(
    Buffer.from('{"type":"memoryExceeded","bytes":3,"__proto__":{"a":1},"b":2}\n'),
  );
  assert.deepEqual(Object.keys(message ?? {}), ['type', 'bytes']);
});

test('an app may send a burst, and then at a limited rate', () => {
  const allowance = new Allowance(1000, 100, 0);
  assert.equal(allowance.take(900, 0), 0);
  assert.equal(allowance.take(200, 0), 1000);
  // After that pause the app may send again, but no more than before.
  assert.equal(allowance.take(100, 1000), 1000);
  assert.equal(allowance.take(1000, 1_000_000), 0);
  assert.equal(allowance.take(1, 1_000_000), 10);
});
