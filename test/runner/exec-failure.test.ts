import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { neverListened } from '../../src/runner/generation/exec-failure.ts';
import type { WorkerHandle } from '../../src/runner/generation/worker-handle.ts';
import { descendantsOf } from '../../src/runner/tree-figures.ts';
import { listListeners } from '../../src/system/net/listeners.ts';
import { processName } from '../../src/system/process/processes.ts';
import { waitFor } from '../support/wait.ts';

const node = `${JSON.stringify(process.execPath)} -e 'setInterval(() => {}, 1000)'; true`;
const rows = [
  { name: 'a program', command: 'sleep 60; true', mayRead: true, code: 'unsupported_start' },
  { name: 'Node.js', command: node, mayRead: true, code: 'boot_timeout' },
  { name: 'a program of another user', command: 'sleep 60; true', mayRead: false, code: 'boot_timeout' },
  { name: 'Node.js of another user', command: node, mayRead: false, code: 'boot_timeout' },
];

for (const { name, command, mayRead, code } of rows) {
  test(`a command that runs ${name} and does not listen fails with ${code}`, async (t) => {
    const shell = spawn('/bin/sh', ['-c', command], { detached: true, stdio: 'ignore' });
    const pid = shell.pid as number;
    t.after(() => process.kill(-pid, 'SIGKILL'));
    await waitFor(() => descendantsOf(pid).some((each) => processName(each) !== 'sh'), {
      what: 'the program',
    });
    if (!mayRead) refuse(t, ['readlink', 'readdir']);
    const output = { everything: { lines: () => [] } };
    const worker = { pid, alive: true, output } as unknown as WorkerHandle;
    const error = await neverListened(worker, { port: 9001, bootTimeout: 1000 } as GenerationSpec);
    assert.equal(error.code, code);
  });
}

test('a search for the processes that listen ends with its signal, and reads a bounded number of descriptors', async (t) => {
  const server = createServer().listen(0);
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const names = Array(20_000).fill('0');
  t.mock.method(fs, 'readdir', async () => names);
  const read = t.mock.method(fs, 'readlink', async () => '');
  restoreAfter(t);
  await listListeners(port, [1, 2]);
  assert.equal(read.mock.callCount(), 10_000);
  await assert.rejects(listListeners(port, [1, 2], AbortSignal.abort()), { name: 'AbortError' });
  assert.equal(read.mock.callCount(), 10_000);
});

/** Refuses calls in /proc, as the kernel does for processes of other users. */
function refuse(t: TestContext, calls: ('readlink' | 'readdir')[]): void {
  for (const call of calls)
    t.mock.method(fs, call, () => Promise.reject(Object.assign(new Error('refused'), { code: 'EACCES' })));
  restoreAfter(t);
}

function restoreAfter(t: TestContext): void {
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
}
