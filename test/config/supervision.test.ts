import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { serverSettingsSchema } from '../../src/config/server-settings.ts';
import { parseSettings } from '../../src/config/settings-file.ts';
import { appSettings } from '../support/builds.ts';

/** Returns the faults of settings, without the first line of the message. */
function faults(settings: object, schema: Parameters<typeof parseSettings>[0] = appSettingsSchema): string[] {
  try {
    parseSettings(schema, settings, 'sluice.json');
  } catch (error) {
    return (error as Error).message.split('\n  ').slice(1);
  }
  return [];
}

test('by default, crashed and stuck processes are restarted, and nothing is limited or scheduled', () => {
  const all = appSettings();
  const { maxRestarts, minUptime, restartDelay, stopExitCodes, stuckTimeout, logOverflow } = all;
  assert.deepEqual(
    { maxRestarts, minUptime, restartDelay, stopExitCodes, stuckTimeout, logOverflow },
    {
      maxRestarts: 16,
      minUptime: 1000,
      restartDelay: 100,
      stopExitCodes: [],
      stuckTimeout: 10_000,
      logOverflow: 'wait',
    },
  );
  assert.deepEqual([all.maxMemory, all.cronRestart, all.processes, all.cron], [undefined, undefined, {}, []]);
});

test('durations and sizes have units', () => {
  const all = appSettings({ minUptime: '2m', restartDelay: 5, stuckTimeout: 0, maxMemory: '300M' });
  assert.deepEqual(
    [all.minUptime, all.restartDelay, all.stuckTimeout, all.maxMemory],
    [120_000, 5, 0, 300 * 1024 ** 2],
  );
});

test('a background process has settings of its own, and variables', () => {
  const { mail } = appSettings({
    processes: {
      mail: {
        command: 'node mail.js',
        env: { A: 1.5, B: false, C: '' },
        ...{ killTimeout: '2s', maxMemory: false, cronRestart: '@daily' },
      },
    },
  }).processes;
  assert.deepEqual(mail, {
    ...{ command: 'node mail.js', count: 1, overlap: false, killTimeout: 2000, maxMemory: false },
    ...{ env: { A: '1.5', B: 'false', C: '' }, cronRestart: { schedule: '@daily', timezone: null } },
  });
  const of = (settings: object) => faults({ processes: { mail: { command: 'node mail.js', ...settings } } });
  const name = 'a name of letters, digits and "_", but not PATH or SLUICE_…';
  assert.deepEqual(of({ instanceVar: 'SLUICE_NR', incrementVar: 'A-B', maxMemory: true, kill: 1 }), [
    'processes.mail.maxMemory: expected an amount of memory such as "300M", or false, got true',
    `processes.mail.instanceVar: expected ${name}, got "SLUICE_NR"`,
    `processes.mail.incrementVar: expected ${name}, got "A-B"`,
    'processes.mail.kill: unknown setting (did you mean "killTimeout"?)',
  ]);
  assert.deepEqual(of({ env: { 'A-B': '1' } }).length, 1);
  assert.deepEqual(of({ env: { SLUICE_JOB: '1' } }).length, 1);
  assert.deepEqual(of({ env: { A: null } }), []);
  assert.deepEqual(of({ env: { A: [] } }).length, 1);
  assert.deepEqual(of({ env: { A: 'x'.repeat(200_000) } }).length, 1);
});

test('all faults of supervision are listed at once', () => {
  const settings = {
    maxRestarts: -1,
    minUptime: '1 s',
    stopExitCodes: [0, 256, 'x'],
    maxMemory: 512,
    logOverflow: 'lose',
    cronRestart: { schedule: '0 3 * *', timezone: 'Europe/Berln', zone: 1 },
  };
  assert.deepEqual(faults(settings), [
    'maxRestarts: expected a whole number from 0 to 1000, got -1',
    'minUptime: expected a number of milliseconds, or text such as "500ms", "30s", "15m" or "1h", got "1 s"',
    'stopExitCodes.1: expected an exit status from 0 to 255, got 256',
    'stopExitCodes.2: expected an exit status from 0 to 255, got "x"',
    'maxMemory: expected at least "32M", got 512',
    'cronRestart.schedule: expected a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri", got "0 3 * *"',
    'cronRestart.timezone: expected the name of a time zone, such as "Europe/Berlin" or "UTC", got "Europe/Berln"',
    'cronRestart.zone: unknown setting',
    'logOverflow: expected "wait" or "drop", got "lose"',
  ]);
});

test('the default time zone of a schedule is that of the machine', () => {
  const schedule = '0 3 * * *';
  assert.deepEqual(appSettings({ cronRestart: schedule }).cronRestart, { schedule, timezone: null });
  const zoned = { schedule, timezone: 'Asia/Tokyo' };
  assert.deepEqual(appSettings({ cronRestart: zoned }).cronRestart, zoned);
});

test('schedules that never occur are rejected; seconds and names of days are accepted', () => {
  const good = ['* * * * *', '59 23 * * *', '*/5 * * * * *', '0 9 * * mon-fri', '0 0 1 jan *', '@daily'];
  assert.deepEqual(
    good.filter((cronRestart) => faults({ cronRestart }).length > 0),
    [],
  );
  const bad = ['', '60 * * * *', '0 24 * * *', '* * * *', '0 0 31 2 *', '0 0 * * *\n', 'hourly'];
  assert.deepEqual(
    bad.filter((cronRestart) => faults({ cronRestart }).length !== 1),
    [],
  );
});

test('log rotation has limits of size, number and total size', () => {
  const { logSize, logSchedule, keepLogs, maxLogBytes } = parseSettings(
    serverSettingsSchema,
    {},
    'config.json',
  );
  assert.deepEqual(
    [logSize, logSchedule, keepLogs, maxLogBytes],
    [10 * 1024 ** 2, '0 0 * * *', 14, 1024 ** 3],
  );
  assert.deepEqual(faults({ logSize: '1T', logSchedule: 'daily', keepLogs: -1 }, serverSettingsSchema), [
    'logSize: expected a number of bytes, or text such as "512K", "256M" or "2G", got "1T"',
    'logSchedule: expected a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri", got "daily"',
    'keepLogs: expected a whole number from 0 to 10000, got -1',
  ]);
});

test('a command alone is a background process', () => {
  const { processes } = appSettings({
    processes: {
      mail: 'node mail.js',
      'thumbs-2': { command: 'npm run thumbs', count: 3, overlap: true, env: {} },
    },
  });
  assert.deepEqual(processes, {
    mail: { command: 'node mail.js', count: 1, overlap: false, env: {} },
    'thumbs-2': { command: 'npm run thumbs', count: 3, overlap: true, env: {} },
  });
});

test('all faults of processes are listed at once', () => {
  const name =
    'a name of small letters, digits and "-" that begins with a letter, such as "mail-worker", and is not "web" or "cron"';
  const processes = {
    web: 'node a.js',
    Mail: 'node a.js',
    a: 5,
    b: { command: ' ', count: 65 },
    // Another source may have the command.
    c: { count: 1 },
    d: { command: 'node x.js', counts: 1, size: 1 },
  };
  assert.deepEqual(faults({ processes }), [
    `processes.web: expected ${name}, got "web"`,
    `processes.Mail: expected ${name}, got "Mail"`,
    'processes.a: expected a command such as "node worker.js", or {"command": …, "count": …}, got 5',
    'processes.b.command: expected a command in one line, such as "node worker.js", got " "',
    'processes.b.count: expected a whole number from 0 to 64, got 65',
    'processes.d.counts: unknown setting (did you mean "count"?)',
    'processes.d.size: unknown setting',
  ]);
});

test('a job has a name by position, a time limit of an hour, and does not overlap', () => {
  const { cron } = appSettings({
    cron: [
      { schedule: '@daily', command: 'node clean.js' },
      {
        name: 'sync',
        schedule: '*/10 * * * *',
        request: '/sync',
        timezone: 'UTC',
        overlap: true,
        timeout: '1m',
      },
      { schedule: '@hourly', request: 'POST /tasks?kind=mail' },
    ],
  });
  const usual = { timezone: null, overlap: false, timeout: 3_600_000 };
  assert.deepEqual(cron, [
    {
      ...usual,
      name: 'cron-1',
      schedule: '@daily',
      action: { kind: 'command', command: 'node clean.js' },
    },
    {
      name: 'sync',
      schedule: '*/10 * * * *',
      timezone: 'UTC',
      overlap: true,
      timeout: 60_000,
      action: { kind: 'request', method: 'GET', path: '/sync' },
    },
    {
      ...usual,
      name: 'cron-3',
      schedule: '@hourly',
      action: { kind: 'request', method: 'POST', path: '/tasks?kind=mail' },
    },
  ]);
});

test('all faults of jobs are listed at once', () => {
  const cron = [
    { schedule: '61 * * * *', command: 'x' },
    { schedule: '@daily' },
    { schedule: '@daily', command: 'x', request: '/y', timezone: 'Berlin' },
    { schedule: '@daily', request: 'post /x', repeat: 3 },
    { command: 'x', name: 'cron' },
  ];
  assert.deepEqual(faults({ cron }), [
    'cron.0.schedule: expected a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri", got "61 * * * *"',
    'cron.1: expected either "command" or "request"',
    'cron.2.timezone: expected the name of a time zone, such as "Europe/Berlin" or "UTC", got "Berlin"',
    'cron.2: expected either "command" or "request"',
    'cron.3.request: expected a path such as "/tasks/mail", or a method and a path: "POST /tasks/mail", got "post /x"',
    'cron.3.repeat: unknown setting',
    'cron.4.name: expected a name of small letters, digits and "-" that begins with a letter, such as "mail-worker", and is not "web" or "cron", got "cron"',
    'cron.4.schedule: required',
  ]);
});

test('names of jobs are unique, including names by position', () => {
  const job = { schedule: '@daily', command: 'x' };
  assert.deepEqual(faults({ cron: [job, { ...job, name: 'cron-1' }] }), [
    'cron.1: expected a unique name; without "name", it is "cron-1", "cron-2" … by position',
  ]);
});
