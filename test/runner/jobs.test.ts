import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { JobSpec } from '../../src/protocol/runner.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

function shell(script: string, changes: Partial<JobSpec> = {}): JobSpec {
  const env = { PATH: process.env['PATH'] ?? '' };
  return {
    argv: ['sh', '-c', script],
    directory: apps,
    env,
    user: null,
    lowPriority: false,
    timeout: 10_000,
    ...changes,
  };
}

async function run(runner: TestRunner, job: JobSpec, signal?: AbortSignal) {
  let output = '';
  const result = runner.client.call('job', { job }, { onProgress: ({ text }) => (output += text), signal });
  return { result, output: () => output };
}

test('a job runs in a directory inside of another, and enters no link', async (t) => {
  const runner = await TestRunner.start(t);
  const directory = await realpath(await temporaryDirectory(t));
  await mkdir(join(directory, 'a/b'), { recursive: true });
  await symlink('a', join(directory, 'linked'));
  for (const program of ['/usr/bin/pwd', '/usr/bin/printenv PWD']) {
    const argv = program.split(' ') as [string, ...string[]];
    const inside = await run(runner, shell('', { argv, directory, workingDirectory: 'a/b' }));
    assert.equal((await inside.result).code, 0);
    assert.equal(inside.output(), `${join(directory, 'a/b')}\n`);
  }
  for (const workingDirectory of ['linked', 'linked/b', '..', 'a/../a']) {
    const outside = await run(runner, shell('pwd', { directory, workingDirectory }));
    await assert.rejects(outside.result);
  }
});

test('a job reports its output and its end', async (t) => {
  const runner = await TestRunner.start(t);
  const { result, output } = await run(runner, shell('echo out; echo err >&2; printf "\\303\\244"; exit 7'));
  assert.deepEqual(
    { ...(await result), durationMs: 0 },
    { code: 7, signal: null, timedOut: false, durationMs: 0 },
  );
  for (const part of ['out\n', 'err\n', 'ä']) assert.ok(output().includes(part), part);
});

test('a command that does not exist is an error that names it (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const { result } = await run(runner, { ...shell(''), argv: ['no-such-command'] });
  await assert.rejects(result, /no-such-command/);
});

const leavesChild = 'sleep 300 & echo $!; wait';

test('a job that times out is ended with its children (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const { result, output } = await run(runner, shell(leavesChild, { timeout: 300 }));
  assert.equal((await result).timedOut, true);
  await gone(Number(output()));
});

test('a job is ended with children in sessions of their own (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const file = join(await temporaryDirectory(t), 'pid');
  const daemon = `setsid sh -c 'echo $$ >${file}; exec sleep 300' & until [ -s ${file} ]; do sleep 0.01; done`;
  const { result } = await run(runner, shell(daemon));
  const { code, left } = await result;
  assert.equal(code, 0);
  if (process.platform === 'linux') assert.equal(left, 1);
  const pid = Number(await readFile(file, 'utf8'));
  assert.ok(pid > 0);
  await gone(pid);
});

test('a job whose caller aborts or hangs up is ended with its children (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const controller = new AbortController();
  const aborted = await run(runner, shell(leavesChild), controller.signal);
  await waitFor(() => aborted.output().includes('\n'));
  controller.abort();
  assert.equal((await aborted.result).timedOut, false);
  await gone(Number(aborted.output()));

  const left = await run(runner, shell(leavesChild));
  await waitFor(() => left.output().includes('\n'));
  runner.client.close();
  await assert.rejects(left.result, { code: 'runner_unavailable' });
  await gone(Number(left.output()));
  await runner.connect();
});

test('the next runner ends the job of a killed runner (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const { result, output } = await run(runner, shell(leavesChild));
  result.catch(() => undefined);
  await waitFor(() => output().includes('\n'));
  await runner.kill();
  await runner.launch();
  await gone(Number(output()));
});

test('a record that was not written whole does not keep the next runner from starting (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.kill();
  await writeFile(join(runner.paths.processes, '4194305.json'), '');
  await runner.launch();
});

test('a job runs and is recorded even if the directory of records was removed (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await rm(runner.paths.processes, { recursive: true });
  // The runner writes the record while the job starts.
  const wait = `until ls ${runner.paths.processes} 2>/dev/null | grep .; do sleep 0.01; done`;
  const { result, output } = await run(runner, shell(wait));
  assert.equal((await result).code, 0);
  assert.match(output(), /^\d+\.json\n$/);
});

test('a build runs at low priority (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const { result, output } = await run(runner, shell('nice', { lowPriority: true }));
  await result;
  assert.equal(output().trim(), String(Math.min(19, getPriority() + 15)));
});

test('a build runs without ionice if the system has none', async (t) => {
  const programs = await temporaryDirectory(t);
  for (const name of ['nice', 'sh']) {
    const path = execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
    await symlink(path, join(programs, name));
  }
  const runner = await TestRunner.start(t);
  const { result, output } = await run(runner, shell('nice', { lowPriority: true, env: { PATH: programs } }));
  assert.equal((await result).code, 0);
  assert.equal(output().trim(), String(Math.min(19, getPriority() + 15)));
});

test('a job whose caller reads slowly waits, and loses no output (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const { result, output } = await run(
    runner,
    shell('head -c 20000000 /dev/zero | tr "\\0" x', { timeout: 60_000 }),
  );
  await result;
  assert.equal(output().length, 20_000_000);
});

test('the output of a job arrives unchanged, with line separators of Unicode (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const { result, output } = await run(runner, { ...shell(''), argv: ['printf', '\u2028a\u2029b\u0085'] });
  await result;
  assert.equal(output(), '\u2028a\u2029b\u0085');
});

function gone(pid: number): Promise<unknown> {
  return waitFor(async () => (await processStartTime(pid)) === undefined, {
    what: `the end of process ${pid}`,
  });
}
