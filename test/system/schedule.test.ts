import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { isSchedule, repeat } from '../../src/system/time/schedule.ts';

/** Starts a schedule at a local time. The clock and the timers are separate: timers of Linux ignore changes of the clock. */
function started(t: TestContext, expression: string, start: Date) {
  let now = start.getTime();
  t.mock.method(Date, 'now', () => now);
  const timers = t.mock.timers;
  timers.enable({ apis: ['setTimeout'] });
  const runs: string[] = [];
  const end = repeat(expression, () => runs.push(local(new Date(now))));
  return {
    /** local times of the runs */
    runs,
    end,
    setClock: (date: Date) => {
      now = date.getTime();
    },
    pass: (minutes: number) => {
      for (let minute = 0; minute < minutes; minute += 1) {
        now += 60_000;
        timers.tick(60_000);
      }
    },
  };
}

function local(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  return `${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

const evening = new Date(2026, 4, 1, 23, 0);

for (const { expression, times } of [
  { expression: '0 0 * * *', times: ['02 00:00', '03 00:00'] },
  { expression: '59 23 * * *', times: ['01 23:59', '02 23:59'] },
  { expression: '7 5 * * *', times: ['02 05:07', '03 05:07'] },
  { expression: '0 23 * * *', times: ['02 23:00', '03 23:00'] },
])
  test(`a schedule runs at its time each day: ${expression}`, (t) => {
    const { runs, pass } = started(t, expression, evening);
    pass(48 * 60);
    assert.deepEqual(runs, times);
  });

test('a schedule runs each hour', (t) => {
  const { runs, pass } = started(t, '30 * * * *', evening);
  pass(120);
  assert.deepEqual(runs, ['01 23:30', '02 00:30']);
});

test('a schedule runs each minute of an hour', (t) => {
  const { runs, pass } = started(t, '* 23 * * *', evening);
  pass(120);
  assert.deepEqual([runs.length, runs.at(0), runs.at(-1)], [59, '01 23:01', '01 23:59']);
});

test('a schedule that a suspended machine has missed runs once, within an hour', (t) => {
  const { runs, setClock, pass } = started(t, '0 0 * * *', new Date(2026, 4, 1, 12, 0));
  pass(30);
  setClock(new Date(2026, 4, 8, 5, 0));
  pass(60);
  assert.deepEqual(runs, ['08 05:30']);
  pass(24 * 60);
  assert.deepEqual(runs, ['08 05:30', '09 00:00']);
});

test('a schedule runs on time after the clock was set back', (t) => {
  const { runs, setClock, pass } = started(t, '0 0 * * *', new Date(2031, 0, 1, 12, 0));
  setClock(new Date(2026, 4, 1, 22, 30));
  pass(120);
  assert.deepEqual(runs, ['02 00:00']);
});

test('a schedule does not run after its end', (t) => {
  const { runs, end, pass } = started(t, '0 0 * * *', evening);
  pass(24 * 60);
  end();
  pass(48 * 60);
  assert.deepEqual(runs, ['02 00:00']);
});

test('a schedule that ends in its own run does not run again', (t) => {
  const timers = t.mock.timers;
  timers.enable({ apis: ['setTimeout', 'Date'], now: evening });
  let runs = 0;
  const end = repeat('0 * * * *', () => {
    runs += 1;
    end();
  });
  for (let hour = 0; hour < 3; hour += 1) timers.tick(3_600_000);
  assert.equal(runs, 1);
});

test('a schedule of node-cron runs once for all times that a suspended machine has missed', async (t) => {
  const timers = t.mock.timers;
  timers.enable({ apis: ['setTimeout', 'Date'], now: evening });
  let runs = 0;
  const end = repeat('*/5 * * * *', () => {
    runs += 1;
  });
  timers.setTime(evening.getTime() + 8 * 3_600_000 + 60_000);
  timers.tick(300_000);
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  end();
  assert.equal(runs, 1);
});

const nodeCron = createRequire(import.meta.url)('node-cron') as typeof import('node-cron');

test('an expression is valid if and only if node-cron accepts it', () => {
  for (const expression of [
    '0 0 * * *',
    '59 23 * * *',
    '* * * * *',
    '*/5 * * * *',
    '0 3 * * mon-fri',
    '00 03 * * *',
  ])
    assert.deepEqual([isSchedule(expression), nodeCron.validate(expression)], [true, true], expression);
  for (const expression of ['60 0 * * *', '0 24 * * *', '0 0 * *', '', 'daily', '0 0 * * * x'])
    assert.deepEqual([isSchedule(expression), nodeCron.validate(expression)], [false, false], expression);
});

/** Program that schedules the default rotation of logs, and prints the loaded packages. */
const program = `
  import { createRequire } from 'node:module';
  import { isSchedule, repeat } from '${import.meta.resolve('../../src/system/time/schedule.ts')}';
  if (isSchedule('0 0 * * *')) repeat('0 0 * * *', () => undefined)();
  const { cache } = createRequire('${import.meta.url}');
  console.log(JSON.stringify(Object.keys(cache)));
`;

test('a daily rotation does not load node-cron, which takes 6 MB of memory', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program]);
  assert.deepEqual(JSON.parse(stdout), []);
});

/** Program that prints the times of a daily schedule while summer time begins and ends in Berlin. */
const seasons = `
  import { repeat } from '${import.meta.resolve('../../src/system/time/schedule.ts')}';
  let now;
  let timer;
  Date.now = () => now;
  globalThis.setTimeout = (call, ms) => { timer = { call, ms }; };
  const runs = [];
  for (const [month, day] of [[2, 28], [9, 24]]) {
    now = Date.UTC(2026, month, day);
    const last = now + 60 * 3_600_000;
    repeat('30 2 * * *', () => runs.push(String(new Date(now)).slice(4, 33)));
    while (now + timer.ms < last) {
      now += timer.ms;
      timer.call();
    }
  }
  console.log(JSON.stringify(runs));
`;

test('a daily schedule runs once on the days on which summer time begins and ends', async () => {
  const env = { ...process.env, TZ: 'Europe/Berlin' };
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', seasons], { env });
  assert.deepEqual(JSON.parse((await run).stdout), [
    'Mar 28 2026 02:30:00 GMT+0100',
    'Mar 29 2026 03:30:00 GMT+0200',
    'Mar 30 2026 02:30:00 GMT+0200',
    'Oct 24 2026 02:30:00 GMT+0200',
    'Oct 25 2026 02:30:00 GMT+0200',
    'Oct 26 2026 02:30:00 GMT+0100',
  ]);
});
