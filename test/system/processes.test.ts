import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { processStartTime, statOf } from '../../src/system/process/processes.ts';
import { waitFor } from '../support/wait.ts';

/** Number of the system call that ends only the calling thread. */
const exitThread = process.arch === 'arm64' ? 93 : 60;

test('a process runs until its last thread has ended', async (t) => {
  const script = `threads->create(sub { sleep 1000 }); syscall(${exitThread}, 0)`;
  const child = spawn('perl', ['-Mthreads', '-e', script], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  const { pid = 0 } = child;
  await waitFor(() => statOf(pid)?.[0] === 'Z', { what: 'the end of the main thread' });
  assert.notEqual(processStartTime(pid), undefined);
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  assert.equal(processStartTime(pid), undefined);
});
