import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { glob, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { processStartTime } from '../../src/system/process/processes.ts';
import { OutputTooLong, ownEnvironment, ProgramFailed, run, runAs } from '../../src/system/process/run.ts';

const root = resolve(import.meta.dirname, '../..');

/** Only file that starts programs in the background. */
const wrapper = 'src/system/process/run.ts';

/** Files that pass our whole environment on, to a program that runs in place of us. */
const passOn = new Set(['src/cli/commands/up.ts', 'src/cli/commands/upgrade.ts', 'src/server/up.ts']);

const ourselves = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const sh = (script: string) => runAs(ourselves, ['/bin/sh', '-c', script], { timeout: 500 });

test('a program that Sluice starts inherits only PATH, and not the working directory', async () => {
  const { NODE_PATH } = process.env;
  process.env['NODE_PATH'] = 'inherited';
  try {
    const { stdout } = await run('/bin/sh', ['-c', 'pwd; env'], { env: ownEnvironment({ EXTRA: 'given' }) });
    const [directory, ...variables] = stdout.trim().split('\n');
    assert.equal(directory, '/');
    const names = variables.map((variable) => variable.split('=', 1)[0]).filter((name) => name !== '_');
    assert.deepEqual(names.toSorted(), [
      'EXTRA',
      'HOME',
      'LC_ALL',
      'NODE_DISABLE_COMPILE_CACHE',
      'PATH',
      'PWD',
    ]);
    const bare = await run('/bin/sh', ['-c', 'echo "$NODE_PATH"']);
    assert.equal(bare.stdout, '\n');
  } finally {
    if (NODE_PATH === undefined) delete process.env['NODE_PATH'];
    else process.env['NODE_PATH'] = NODE_PATH;
  }
});

test('only one file starts programs, and only programs that run in place of Sluice get its environment', async () => {
  let spawning = 0;
  for await (const file of glob('{src,hooks,config}/**/*.{ts,cjs,mjs,js}', { cwd: root })) {
    const code = await readFile(join(root, file), 'utf8');
    if (code.includes("process/run.ts'")) spawning += 1;
    if (file === wrapper || passOn.has(file)) continue;
    assert.doesNotMatch(code, /^(?!import type ).*['"](?:node:)?child_process['"]/m, file);
    assert.doesNotMatch(code, /\benv: process\.env\b|\.\.\.process\.env\b/, file);
  }
  assert.ok(spawning > 15, `${spawning} files start programs`);
});

test('a failed program is reported with its exit status and its errors', async () => {
  const failed = await run('/bin/sh', ['-c', 'echo out; echo broken >&2; exit 7']).catch((error) => error);
  assert.ok(failed instanceof ProgramFailed);
  assert.deepEqual([failed.message, failed.code, failed.stdout], ['broken', 7, 'out\n']);
  await assert.rejects(run('/no/such/program', []), { code: 'ENOENT' });
});

test('a program gets its input', async () => {
  const { stdout } = await run('cat', [], { input: 'text\n' });
  assert.equal(stdout, 'text\n');
  await run('true', [], { input: 'x'.repeat(1_000_000) });
});

test('a program that another user has stopped, or whose pipe another process has open, ends in time', async () => {
  await assert.rejects(sh('kill -STOP $$'), { message: '/bin/sh timed out after 500 ms' });
  await sh('sleep 20 &');
});

test('a program that has ended in time is not late, although this process stood still', async () => {
  const start = performance.now();
  const running = run('true', [], { timeout: 100 });
  const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ');
  const isRunning = () => children().some((pid) => processStartTime(Number(pid)) !== undefined);
  while (isRunning() || performance.now() - start < 200);
  await running;
});

test('a program that prints without end is ended', async () => {
  await assert.rejects(sh('exec yes'), ProgramFailed);
  await assert.rejects(run('yes', [], { maxOutput: 1000 }), OutputTooLong);
});
