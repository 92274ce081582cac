import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Death,
  deathsInJournal,
  deathsInLog,
  journalMessages,
  lastError,
} from '../../src/doctor/deaths.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { answering } from '../support/apps.ts';
import { doctor } from '../support/doctor.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

test('doctor reports when and why the runner died, and no restart that a user asked for', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('here'));
  await sluice.stop();
  await sluice.up();
  await sluice.untilRunning('shop');
  assert.equal((await restarts(sluice))?.message, 'server and runner have not died in the last 7 days');

  const runner = await runnerPid(sluice);
  signalProcess(runner ?? 0, 'SIGKILL');
  await waitFor(async () => ![undefined, runner].includes(await runnerPid(sluice)), {
    what: 'another runner',
  });
  const after = await restarts(sluice);
  assert.equal(after?.state, 'warning');
  assert.match(
    after.message,
    /^the runner died in the last 7 days, on \d{4}-\d\d-\d\d \d\d:\d\d UTC, and was started again: killed by SIGKILL$/,
  );
  assert.match(after.hint, /A user or the kernel killed it/);
});

async function restarts({ home }: Sluice) {
  return (await doctor(home)).checks['restarts'];
}

async function runnerPid(sluice: Sluice): Promise<number | undefined> {
  const status = sluice.call<{ runner: { pid: number } | null }>('GET', '/v1/status');
  return status.then(
    ({ runner }) => runner?.pid,
    () => undefined,
  );
}

const at = '2026-03-01T09:30:00.000Z';
const line = (fields: object) => JSON.stringify({ level: 'error', time: at, ...fields });

test('the log shows the cause of a death: the message of the error, or that memory ran out', () => {
  const crash = [
    'node:events:505',
    '    throw er; // Unhandled error event',
    '    ^',
    '',
    "Error: EMFILE: too many open files, open '/proc/1/stat'",
    '    at Object.openSync (node:fs:561:18)',
  ];
  const deaths = deathsInLog(
    [
      line({
        source: 'server',
        msg: 'runner ended',
        pid: 6,
        code: 1,
        signal: null,
        time: '2026-02-01T09:30:00.000Z',
      }),
      line({ source: 'runner', msg: 'ready', level: 'info' }),
      ...crash,
      line({ source: 'server', msg: 'runner lost', level: 'warn', pid: 7 }),
      line({ source: 'server', msg: 'runner ended', pid: 7, code: 1, signal: null }),
      line({ source: 'runner', msg: 'ready', level: 'info' }),
      line({ source: 'server', msg: 'runner lost', level: 'info', pid: 8 }),
      line({ source: 'server', msg: 'crashed', error: 'TypeError: x is no function\n    at y' }),
      line({ source: 'supervisor', msg: 'server ended', status: 70 }),
      'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
      line({ source: 'supervisor', msg: 'server ended', status: 134 }),
    ],
    new Date('2026-02-25'),
  );
  const death = (program: Death['program'], how: string, error: string, lacksMemory = false): Death => {
    return { program, at: new Date(at), how, error, lacksMemory };
  };
  assert.deepEqual(deaths, [
    death('runner', 'exit status 1', "Error: EMFILE: too many open files, open '/proc/1/stat'"),
    death('server', 'exit status 70', 'TypeError: x is no function'),
    death(
      'server',
      'killed by SIGABRT',
      'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
      true,
    ),
  ]);
  assert.equal(lastError(['Error: of an earlier process', line({ msg: 'ready' }), '{torn']), '');
});

test('the journal of systemd shows how units died, and that memory ran out', () => {
  const entry = (fields: object) =>
    JSON.stringify({ __REALTIME_TIMESTAMP: String(Date.parse(at) * 1000), ...fields });
  const exit = { MESSAGE_ID: journalMessages.processExit, COMMAND: 'ExecStart' };
  const text = [
    entry({ ...exit, UNIT: 'sluice-runner.service', EXIT_CODE: 'exited', EXIT_STATUS: '1' }),
    entry({
      ...exit,
      UNIT: 'sluice-runner.service',
      COMMAND: 'ExecStopPost',
      EXIT_CODE: 'exited',
      EXIT_STATUS: '1',
    }),
    entry({ ...exit, UNIT: 'sluice.service', EXIT_CODE: 'killed', EXIT_STATUS: '9' }),
    entry({ MESSAGE_ID: journalMessages.failed, UNIT: 'sluice.service', UNIT_RESULT: 'oom-kill' }),
    '',
  ].join('\n');
  assert.deepEqual(
    deathsInJournal(text).map(({ program, how, lacksMemory }) => [program, how, lacksMemory]),
    [
      ['runner', 'exit status 1', false],
      ['server', 'killed by SIGKILL', true],
    ],
  );
});
