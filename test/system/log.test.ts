import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLog } from '../../src/system/log/log.ts';
import { bindRequestId, withRequestId } from '../../src/system/log/request-id.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const log = fileURLToPath(new URL('../../src/system/log/log.ts', import.meta.url));

/** A program that logs to `descriptor` and then says that it is still there. */
const talkative = (descriptor: number) => `
  const { createLog } = await import(${JSON.stringify(log)});
  const log = createLog(${descriptor}, 'runner');
  for (let line = 0; line < 100; line += 1) log.info('something', { line });
  setImmediate(() => console.log('still here'));
`;

test('a line has level, time, source, event and request, and then the fields', async (t) => {
  const { log, lines } = await logToFile(t);
  log.info('app started', { app: 'shop', release: 3 });
  withRequestId('trace-42', () => log.error('internal error', { error: 'Error: no\n    at once' }));
  const [first = '', second = ''] = lines();
  assert.match(
    first,
    /^\{"level":"info","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","source":"server","msg":"app started","app":"shop","release":3\}$/,
  );
  const { time: _, ...failed } = JSON.parse(second);
  assert.deepEqual(failed, {
    level: 'error',
    source: 'server',
    msg: 'internal error',
    requestId: 'trace-42',
    error: 'Error: no\n    at once',
  });
});

test('lines below the level are left out', async (t) => {
  const { log, lines } = await logToFile(t, 'warn');
  for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level](level);
  assert.deepEqual(
    lines().map((line) => JSON.parse(line).msg),
    ['warn', 'error'],
  );
});

test('later work and bound callbacks of a request log its id', async (t) => {
  const { log, lines } = await logToFile(t);
  let callback = () => {};
  await withRequestId('trace-42', async () => {
    await new Promise(setImmediate);
    callback = bindRequestId(() => log.info('called back'));
    log.info('later');
  });
  callback();
  log.info('for nobody');
  assert.deepEqual(
    lines().map((line) => JSON.parse(line).requestId),
    ['trace-42', 'trace-42', undefined],
  );
});

test('a process continues although its log and stderr are on a full disk', () => {
  const full = openSync('/dev/full', 'w');
  try {
    const { status, stdout } = run(2, full);
    assert.deepEqual([status, stdout], [0, 'still here\n']);
  } finally {
    closeSync(full);
  }
});

test('lines go to stderr if the disk of the log is full', () => {
  const full = openSync('/dev/full', 'w');
  try {
    const { status, stdout, stderr } = run(3, 'pipe', full);
    assert.deepEqual([status, stdout], [0, 'still here\n']);
    assert.equal(
      stderr.match(/"msg":"something","line":\d+\} \(not in the log: Error: ENOSPC/g)?.length,
      100,
    );
  } finally {
    closeSync(full);
  }
});

test('a process continues although nobody reads the pipe of its log', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', talkative(2)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stderr.destroy();
  const [stdout, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.deepEqual([status, stdout], [0, 'still here\n']);
});

function run(descriptor: number, stderr: number | 'pipe', ...others: number[]) {
  const script = talkative(descriptor);
  return spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', stderr, ...others],
    encoding: 'utf8',
  });
}

async function logToFile(t: TestContext, level?: 'warn') {
  const path = `${await temporaryDirectory(t)}/log`;
  const descriptor = openSync(path, 'a');
  t.after(() => closeSync(descriptor));
  const lines = () => readFileSync(path, 'utf8').trimEnd().split('\n');
  return { log: createLog(descriptor, 'server', level), lines };
}
