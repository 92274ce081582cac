import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { serverSettingsSchema } from '../../src/config/server-settings.ts';
import { parseSettings } from '../../src/config/settings-file.ts';
import { appSettings } from '../support/builds.ts';

/** What is said of a sluice.json, without the line that counts. */
function faults(settings: object, schema: Parameters<typeof parseSettings>[0] = appSettingsSchema): string[] {
  try {
    parseSettings(schema, settings, 'sluice.json');
  } catch (error) {
    return (error as Error).message.split('\n  ').slice(1);
  }
  return [];
}

test('without a word about it, crashes are restarted, a stuck worker is replaced, and nothing is limited or scheduled', () => {
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

test('times and sizes are taken with their units', () => {
  const all = appSettings({ minUptime: '2m', restartDelay: 5, stuckTimeout: 0, maxMemory: '300M' });
  assert.deepEqual(
    [all.minUptime, all.restartDelay, all.stuckTimeout, all.maxMemory],
    [120_000, 5, 0, 300 * 1024 ** 2],
  );
});

test('all faults of supervision are told at once, each with its place and what would be right', () => {
  const settings = {
    maxRestarts: -1,
    minUptime: '1 s',
    stopExitCodes: [0, 256, 'x'],
    maxMemory: 512,
    logOverflow: 'lose',
    cronRestart: { schedule: '0 3 * *', timezone: 'Europe/Berln', zone: 1 },
  };
  assert.deepEqual(faults(settings), [
    'maxRestarts: a whole number from 0 to 1000, not -1',
    'minUptime: a number of milliseconds, or text such as "500ms", "30s", "15m" or "1h", not "1 s"',
    'stopExitCodes.1: an exit status from 0 to 255, not 256',
    'stopExitCodes.2: an exit status from 0 to 255, not "x"',
    'maxMemory: at least "32M", not 512',
    'cronRestart.schedule: a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri", not "0 3 * *"',
    'cronRestart.timezone: the name of a time zone, such as "Europe/Berlin" or "UTC", not "Europe/Berln"',
    'logOverflow: "wait" or "drop", not "lose"',
    'cronRestart.zone: there is no such setting',
  ]);
});

test('a schedule alone is meant in the time zone of the machine', () => {
  const schedule = '0 3 * * *';
  assert.deepEqual(appSettings({ cronRestart: schedule }).cronRestart, { schedule, timezone: null });
  const zoned = { schedule, timezone: 'Asia/Tokyo' };
  assert.deepEqual(appSettings({ cronRestart: zoned }).cronRestart, zoned);
});

test('schedules are checked to be ones that come, seconds and names of days included', () => {
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

test('logs are rotated by size, by day and down to a number, with a limit for all together', () => {
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
    'logSize: a number of bytes, or text such as "512K", "256M" or "2G", not "1T"',
    'logSchedule: a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri", not "daily"',
    'keepLogs: a whole number from 0 to 10000, not -1',
  ]);
});

test('a process may be written as its command alone', () => {
  const { processes } = appSettings({
    processes: { mail: 'node mail.js', 'thumbs-2': { command: 'npm run thumbs', count: 3, overlap: true } },
  });
  assert.deepEqual(processes, {
    mail: { command: 'node mail.js', count: 1, overlap: false },
    'thumbs-2': { command: 'npm run thumbs', count: 3, overlap: true },
  });
});

test('all faults of processes are told at once, those inside of each too', () => {
  const name =
    'a name of small letters, digits and "-" that begins with a letter, such as "mail-worker", and is not "web" or "cron"';
  const processes = {
    web: 'node a.js',
    Mail: 'node a.js',
    a: 5,
    b: { command: ' ', count: 65 },
    c: { count: 1 },
    d: { command: 'node x.js', counts: 1, size: 1 },
  };
  assert.deepEqual(faults({ processes }), [
    `processes.web: ${name}, not "web"`,
    `processes.Mail: ${name}, not "Mail"`,
    'processes.a: a command such as "node worker.js", or {"command": …, "count": …}, not 5',
    'processes.b.command: a command such as "node worker.js", not " "',
    'processes.b.count: a whole number from 0 to 64, not 65',
    'processes.c.command: it must be there',
    'processes.d.counts: there is no such setting (did you mean "count"?)',
    'processes.d.size: there is no such setting',
  ]);
});

test('what is done at set times has a name by its place, one hour, and does not overlap', () => {
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

test('all faults of what is done at set times are told at once', () => {
  const cron = [
    { schedule: '61 * * * *', command: 'x' },
    { schedule: '@daily' },
    { schedule: '@daily', command: 'x', request: '/y', timezone: 'Berlin' },
    { schedule: '@daily', request: 'post /x', repeat: 3 },
    { command: 'x', name: 'cron' },
  ];
  assert.deepEqual(faults({ cron }), [
    'cron.0.schedule: a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri", not "61 * * * *"',
    'cron.1: either "command" or "request"',
    'cron.2.timezone: the name of a time zone, such as "Europe/Berlin" or "UTC", not "Berlin"',
    'cron.2: either "command" or "request"',
    'cron.3.request: a path such as "/tasks/mail", or a method and a path: "POST /tasks/mail", not "post /x"',
    'cron.4.name: a name of small letters, digits and "-" that begins with a letter, such as "mail-worker", and is not "web" or "cron", not "cron"',
    'cron.4.schedule: it must be there',
    'cron.3.repeat: there is no such setting',
  ]);
});

test('no two of them have one name, the names by place included', () => {
  const job = { schedule: '@daily', command: 'x' };
  assert.deepEqual(faults({ cron: [job, { ...job, name: 'cron-1' }] }), [
    'cron.1: a name that no other one has, not "cron-1"',
  ]);
});
