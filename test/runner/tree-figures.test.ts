import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { type TestContext, test } from 'node:test';
import { descendantsOf, TreeFigures } from '../../src/runner/tree-figures.ts';
import { processName, statOf } from '../../src/system/process/processes.ts';
import { waitFor } from '../support/wait.ts';

/** Starts a shell with that many children. @returns its pid */
async function startTree(t: TestContext, children: number, command: string): Promise<number> {
  const all = `${command} & `.repeat(children);
  const shell = spawn('/bin/sh', ['-c', `${all} wait`], { detached: true });
  const pid = shell.pid as number;
  t.after(() => process.kill(-pid, 'SIGKILL'));
  await waitFor(() => descendantsOf(pid).length === children, { what: 'the children' });
  return pid;
}

test('a search is bounded in processes and threads, and finds nothing without a free descriptor', async (t) => {
  const pid = await startTree(t, 3, 'exec sleep 60');
  assert.equal(descendantsOf(pid, 2).length, 2);
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  const files = t.mock.method(fs, 'readFileSync');
  const threads = t.mock.method(fs, 'readdirSync', () => Array(1000).fill(String(pid)));
  syncBuiltinESMExports();
  descendantsOf(pid, 2);
  assert.equal(files.mock.callCount(), 32);
  for (const { mock } of [files, threads])
    mock.mockImplementation(() => {
      throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    });
  assert.deepEqual(descendantsOf(pid), []);
  threads.mock.mockImplementation(() => [String(pid)]);
  assert.deepEqual(descendantsOf(pid), []);
});

test('the workers of an app share the limit of measured processes', async (t) => {
  const pid = await startTree(t, 3, 'exec sleep 60');
  const [all, share] = [new TreeFigures(pid, 1), new TreeFigures(pid, 128)];
  // A child that still is a shell has other memory a moment later.
  const isSleep = (child: number) => processName(child) === 'sleep';
  await waitFor(() => descendantsOf(pid).every(isSleep), { what: 'the programs of the children' });
  for (const figures of [all, share]) figures.read();
  assert.ok((share.memoryBytes ?? 0) < (all.memoryBytes ?? 0));
});

test('the share of the processor does not grow between two measurements of it', async (t) => {
  const pid = await startTree(t, 1, 'while :; do :; done');
  const [busy = 0] = descendantsOf(pid);
  await waitFor(() => Number(statOf(busy)?.[11]) > 10, { what: 'use of the processor' });
  const start = performance.now();
  const figures = new TreeFigures(pid, 1);
  figures.read(start + 1000);
  const { cpuPercent } = figures;
  assert.ok(cpuPercent !== null && cpuPercent > 0);
  for (const later of [1100, 1200, 1300]) figures.read(start + later);
  assert.equal(figures.cpuPercent, cpuPercent);
});
