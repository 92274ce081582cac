import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProgramFailed, runAs } from '../../src/system/process/run-as.ts';

const ourselves = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const run = (script: string) =>
  runAs(ourselves, ['/bin/sh', '-c', script], { env: { PATH: '/usr/bin:/bin' }, timeout: 500 });

test('a program that another user has stopped, or whose pipe another process holds, is ended in time', async () => {
  await assert.rejects(run('kill -STOP $$'), ProgramFailed);
  await run('sleep 20 &');
});

test('a program that prints without end is ended', async () => {
  await assert.rejects(run('exec yes'), ProgramFailed);
});
