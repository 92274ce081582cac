import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { balance, median, medianRatio, percentile, written } from '../bench/figures.ts';
import { OpenLoop } from '../bench/load/open-loop.ts';
import type { Figures, Measurement } from '../bench/measurement.ts';
import { pageWith, summary } from '../bench/pages.ts';
import { merged, type Result, type Results, resultOf } from '../bench/results.ts';
import { measurements } from '../bench/rows/all.ts';
import { endScopes, inScope, runRounds } from '../bench/run.ts';
import { textTable } from '../bench/table.ts';
import { orderOf } from './support/switching.ts';
import { waitFor } from './support/wait.ts';

const run = { error: null, date: '2026-11-30', commit: 'abc1234' };
const machine = { cpu: 'x', cores: 2, memory: 8, system: 'Debian', node: '26.8.2', pm2: '7.0.4' };

/** Measurement whose sides return figures without measuring. */
function measurement(changes: Partial<Measurement> = {}): Measurement {
  const rival = { name: 'PM2', figure: 'pm2' };
  const row = { title: 'time', unit: 'ms' as const, ours: 'sluice', rival, goal: { figure: 5, ratio: 0.5 } };
  return { name: 'example', rounds: 5, quickRounds: 1, rows: [row], prepare: async () => [], ...changes };
}

function result(rounds: Figures[], from = measurement()): Result {
  const [row] = from.rows;
  assert.ok(row);
  return resultOf(from, row, rounds, run);
}

test('the figures of the benchmark are medians, percentiles, and ratios within rounds', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.equal(percentile([7], 0.99), 7);
  // The ratios are 0.5, 2 and 1: the ratio of the medians would be 2.
  assert.equal(medianRatio([1, 20, 300], [2, 10, 300]), 1);
  assert.equal(medianRatio([0], [0]), 1);
});

test('the balance counts workers without connections', () => {
  assert.equal(balance([16, 16], 2), 1);
  assert.equal(balance([50, 14], 2), 50 / 32);
  assert.equal(balance([64], 4), 4);
});

test('figures have three digits', () => {
  const texts = [0, 0.00123, 1.0649, 12.34, 123.4, 1234.5].map((value) => written(value));
  assert.deepEqual(texts, ['0', '0', '1.06', '12.3', '123', '1,235']);
  assert.equal(written(1.5, 'ms'), '1.5 ms');
  assert.equal(written(null, 'ms'), '–');
});

test('a row is ok if the median and the ratio are within their goals', () => {
  const good = result([
    { sluice: 4, pm2: 10 },
    { sluice: 5, pm2: 10 },
    { sluice: 6, pm2: 10 },
  ]);
  assert.deepEqual([good.sluice, good.rival?.figure, good.ratio, good.ok], [5, 10, 0.5, true]);
  assert.equal(result([{ sluice: 6, pm2: 100 }]).ok, false);
  assert.equal(result([{ sluice: 5, pm2: 9 }]).ok, false);
  // A round without one of the figures does not count.
  const none = result([{ sluice: 5 }]);
  assert.deepEqual([none.sluice, none.ratio, none.rounds, none.ok], [null, null, 0, false]);
});

test('each round runs all sides, and starts with another one', async () => {
  const order: string[] = [];
  const side = (name: string) => async () => {
    order.push(name);
    return { [name]: order.length };
  };
  const { figures, error } = await runRounds(
    measurement({ rounds: 2, prepare: async () => [side('sluice'), side('pm2')] }),
    false,
  );
  assert.deepEqual(order, ['sluice', 'pm2', 'pm2', 'sluice']);
  assert.deepEqual(figures, [
    { sluice: 1, pm2: 2 },
    { pm2: 3, sluice: 4 },
  ]);
  assert.equal(error, null);
});

test('a side that fails is left out, and all cleanups run', async () => {
  const cleaned: number[] = [];
  let calls = 0;
  const outcome = await runRounds(
    measurement({
      rounds: 3,
      prepare: async ({ after }) => {
        for (const step of [1, 2]) after(() => cleaned.push(step));
        const failing = async () => {
          calls += 1;
          if (calls === 2) throw new Error('the app has died');
          return { sluice: calls };
        };
        return [failing, async () => ({ pm2: 7 })];
      },
    }),
    false,
  );
  assert.deepEqual(outcome, {
    figures: [{ sluice: 1, pm2: 7 }, { pm2: 7 }, { pm2: 7 }],
    error: 'the app has died',
  });
  assert.deepEqual(cleaned, [2, 1]);

  const never = await runRounds(measurement({ prepare: () => Promise.reject(new Error('no PM2')) }), false);
  assert.deepEqual(never, { figures: [], error: 'no PM2' });
});

test('an end by a signal runs the cleanups of all scopes, and each once', async () => {
  const cleaned: string[] = [];
  await inScope(async (outer) => {
    outer.after(() => cleaned.push('outer'));
    await inScope(async (inner) => {
      inner.after(() => cleaned.push('inner'));
      await endScopes();
    });
  });
  assert.deepEqual(cleaned, ['inner', 'outer']);
});

test('the table shows figures, ratios, goals, and reasons of failures', () => {
  const good = result([{ sluice: 4, pm2: 10 }]);
  const bad: Result = { ...good, title: 'other time', sluice: null, ratio: null, ok: false, error: 'no PM2' };
  assert.equal(
    textTable([good, bad]),
    `row         Sluice       rival  ratio                  goal   ok
time          4 ms  PM2: 10 ms   0.40  ≤ 5 ms, ratio ≤ 0.50  yes
other time       –  PM2: 10 ms      –  ≤ 5 ms, ratio ≤ 0.50   no
example: no PM2
`,
  );
});

test('results of other measurements on the same machine are kept', () => {
  const of = (name: string, sluice: number): Result => ({
    ...result([{ sluice, pm2: 1 }], measurement({ name })),
  });
  const earlier: Results = { machine, rows: [of('first', 1), of('second', 1), of('removed', 1)] };
  const now: Results = { machine, rows: [of('second', 2)] };
  const order = ['first', 'second'];
  const figures = ({ rows }: Results) => rows.map(({ measurement, sluice }) => [measurement, sluice]);
  assert.deepEqual(figures(merged(earlier, now, order)), [
    ['first', 1],
    ['second', 2],
  ]);
  const other: Results = { ...now, machine: { ...machine, cores: 4 } };
  assert.deepEqual(figures(merged(earlier, other, order)), [['second', 2]]);
});

test('a page gets the figures between its marks', () => {
  const shown: Result = { ...result([{ sluice: 4, pm2: 10 }]), short: 'time of a deploy' };
  const part = summary({ machine, rows: [shown, { ...shown, short: null }] });
  assert.equal(
    part,
    `|  | Sluice | compared with | ratio |
| --- | --- | --- | --- |
| time of a deploy | 4 ms | 10 ms (PM2) | 0.4 |

Figures are medians, and a ratio is the median of the ratios within the rounds. Measured 2026-11-30 on a machine with 2 cores (x), 8 GB, Debian, Node.js 26.8.2 and PM2 7.0.4.`,
  );
  const [begin, end] = [
    '<!-- Generated from bench/results.json by `npm run generate`. -->',
    '<!-- End of the generated part. -->',
  ];
  const page = `before\n${begin}\nold\n${end}\nafter\n`;
  assert.equal(pageWith(page, part), `before\n${begin}\n\n${part}\n\n${end}\nafter\n`);
  assert.equal(pageWith(pageWith(page, part), part), pageWith(page, part));
  assert.throws(() => pageWith('nothing', part), /no part/);
});

test('every measurement has a name of its own, and rows with different titles or rivals', () => {
  const names = measurements.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  const rows = measurements.flatMap(({ rows }) => rows.map(({ title, rival }) => `${title} ${rival?.name}`));
  assert.equal(new Set(rows).size, rows.length);
});

test('latencies of the open loop count from the time at which a request was due', async (t) => {
  let isHeld = false;
  const held: (() => void)[] = [];
  const server = createServer((_request, response) => {
    const answer = () => response.setHeader('x-pid', 1).end('hello');
    if (isHeld) held.push(answer);
    else answer();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;

  const loop = await OpenLoop.start({ port, rate: 100, connections: 1 });
  isHeld = true;
  await waitFor(() => held.length === 1, { what: 'a request' });
  const heldFrom = performance.timeOrigin + performance.now();
  await waitFor(() => performance.timeOrigin + performance.now() > heldFrom + 100);
  isHeld = false;
  const releasedAt = performance.timeOrigin + performance.now();
  held[0]?.();
  const { due, answered, failed } = await loop.stop();

  assert.equal(failed, 0);
  // The connection was blocked, and all requests that were due in the meantime had to wait for it.
  const late = due.filter((time) => time > heldFrom && time < releasedAt);
  assert.ok(late.length > 0);
  for (const time of late) assert.ok((answered[due.indexOf(time)] ?? 0) >= releasedAt);
});

test('an answer of an earlier worker is out of order, unless the worker has come back', () => {
  const answer = (pid: number, start: number, end: number) => ({ pid, start, end, mark: 0 });
  const periods = [
    { begin: 0, pids: [1] },
    { begin: 10, pids: [2] },
    { begin: 30, pids: [1] },
  ];
  // Sent before the new worker has answered anybody.
  assert.deepEqual(orderOf([answer(2, 12, 14), answer(1, 13, 20)], periods), { outOfOrder: 0, periods: 2 });
  // Sent after that, and before worker 1 may have come back.
  assert.deepEqual(orderOf([answer(2, 12, 14), answer(1, 15, 20)], periods), { outOfOrder: 1, periods: 1 });
  assert.deepEqual(orderOf([answer(2, 12, 14), answer(1, 31, 32)], periods), { outOfOrder: 0, periods: 2 });
  // Worker 2 answers after worker 1 has come back and answered.
  const late = [answer(2, 12, 14), answer(1, 31, 32), answer(2, 33, 34)];
  assert.deepEqual(orderOf(late, periods), { outOfOrder: 1, periods: 2 });
});
