import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { isSchedule, repeat } from '../../src/system/time/schedule.ts';

/** Starts a schedule at a local time. The clock of the machine and its timers are separate, as they are in Linux. */
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

test('a schedule runs once, and within an hour, if the machine was suspended at its time', (t) => {
  const { runs, setClock, pass } = started(t, '0 0 * * *', evening);
  pass(30);
  setClock(new Date(2026, 4, 8, 5, 0));
  pass(60);
  assert.deepEqual(runs, ['08 05:30']);
  pass(24 * 60);
  assert.deepEqual(runs, ['08 05:30', '09 00:00']);
});

test('a schedule runs at its time if the clock was set back more than an hour before it', (t) => {
  const { runs, setClock, pass } = started(t, '0 0 * * *', new Date(2031, 0, 1, 12, 0));
  setClock(new Date(2026, 4, 1, 22, 30));
  pass(120);
  assert.deepEqual(runs, ['02 00:00']);
});

test('a schedule does not run after its end', (t) => {
  const { runs, end, pass } = started(t, '0 0 * * *', evening);
  end();
  pass(48 * 60);
  assert.deepEqual(runs, []);
});

const nodeCron = createRequire(import.meta.url)('node-cron') as typeof import('node-cron');

test('expressions are valid if node-cron accepts them', () => {
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

/** Program that schedules the rotation of logs by default, and prints the packages that this loads. */
const program = `
  import { createRequire } from 'node:module';
  import { isSchedule, repeat } from '${import.meta.resolve('../../src/system/time/schedule.ts')}';
  if (isSchedule('0 0 * * *')) repeat('0 0 * * *', () => undefined)();
  const { cache } = createRequire('${import.meta.url}');
  console.log(JSON.stringify(Object.keys(cache)));
`;

test('a daily rotation does not load node-cron, which takes 9 MB of memory of the runner', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program]);
  assert.deepEqual(JSON.parse(stdout), []);
});
