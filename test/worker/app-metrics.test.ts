import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import type { AppMetric, FromWorker } from '../../src/protocol/worker.ts';
import { WorkerMessages } from '../../src/runner/generation/worker-channel.ts';
import { Metrics } from '../../src/runner/metrics.ts';

const require = createRequire(import.meta.url);
const { AppMetrics } =
  require('../../src/worker/app-metrics.cjs') as typeof import('../../src/worker/app-metrics.cjs');
const { asciiJson } =
  require('../../src/worker/channel.cjs') as typeof import('../../src/worker/channel.cjs');

/** Returns what the runner knows of the metrics in messages of an app. */
function known(...data: unknown[]): AppMetric[] {
  const [ofApp, ofRunner] = [new AppMetrics(), new Metrics([])];
  for (const each of data) {
    ofApp.hear({ type: 'axm:monitor', data: each });
    for (const message of ofApp.takeChanged()) {
      const line = Buffer.from(`${asciiJson(message)}\n`);
      const [received] = [...new WorkerMessages().push(line)];
      assert.deepEqual(received, message, `the runner accepts ${line}`);
      ofRunner.note(received as Extract<FromWorker, { type: 'metric' }>);
    }
  }
  return ofRunner.list();
}

test('metrics are numbers, texts or truth values, and keep their last value', () => {
  const first = { Users: { value: 1, unit: 'people' }, Load: { value: '2.5ms' }, On: { value: true } };
  assert.deepEqual(known(first, { Users: { value: 2, unit: 'people' } }), [
    { name: 'Users', value: 2, unit: 'people' },
    { name: 'Load', value: '2.5ms', unit: '' },
    { name: 'On', value: true, unit: '' },
  ]);
});

test('only changed metrics are reported', () => {
  const metrics = new AppMetrics();
  const hear = (users: number) =>
    metrics.hear({ type: 'axm:monitor', data: { Users: { value: users }, Same: { value: 1 } } });
  hear(1);
  assert.equal(metrics.takeChanged().length, 2);
  hear(1);
  assert.deepEqual(metrics.takeChanged(), []);
  hear(2);
  assert.deepEqual(metrics.takeChanged(), [{ type: 'metric', name: 'Users', value: 2, unit: '' }]);
});

test('other values are left out', () => {
  const odd = { a: null, b: 1, c: { value: {} }, d: { value: Number.NaN }, e: {}, f: { value: undefined } };
  assert.deepEqual(known(odd, null, 'text', undefined, [], 5), []);
});

test('the metrics of a hostile app are bounded in number and length, and without control characters', () => {
  const many = Object.fromEntries(
    Array.from({ length: 1000 }, (_, index) => [`metric ${index}`, { value: index }]),
  );
  const other = Object.fromEntries(
    Array.from({ length: 100 }, (_, index) => [`other ${index}`, { value: 1 }]),
  );
  assert.equal(known(many, other).length, 32);
  const long = '\u{1f4a5}ü\n\u001b[31m'.repeat(1000);
  const [metric] = known({ [long]: { value: long, unit: long } });
  assert.deepEqual([metric?.name.length, String(metric?.value).length, metric?.unit.length], [64, 64, 16]);
  assert.doesNotMatch(`${metric?.name}${metric?.value}${metric?.unit}`, /\p{Cc}/u);
});

test('the runner refuses metrics that no bootstrap sends, and keeps at most 32', () => {
  const refused = (metric: object) =>
    [...new WorkerMessages().push(Buffer.from(`${asciiJson({ type: 'metric', ...metric })}\n`))][0] ===
    undefined;
  const good = { name: 'Users', value: 1, unit: '' };
  assert.ok(!refused(good));
  for (const bad of [
    { name: 'x'.repeat(65) },
    { value: {} },
    { value: 'a\nb' },
    { unit: 5 },
    { name: '\u001b' },
  ])
    assert.ok(refused({ ...good, ...bad }), JSON.stringify(bad));
  const metrics = new Metrics([]);
  for (let index = 0; index < 100; index += 1) metrics.note({ ...good, name: `metric ${index}` });
  assert.equal(metrics.list().length, 32);
});

test('metrics are masked as the log of the app is, also where a text is cut', () => {
  const secret = 'an-example-of-a-secret-value';
  const metrics = new Metrics([secret]);
  const short = { value: true, unit: '' };
  metrics.note({ name: `of ${secret}`, value: secret, unit: secret.slice(0, 16) });
  metrics.note({ name: 'requests', value: 5, unit: 'ms' });
  metrics.note({ name: `${'x'.repeat(50)}${secret.slice(0, 14)}`, ...short });
  const list = metrics.list();
  assert.doesNotMatch(JSON.stringify(list), /an-exa/);
  assert.deepEqual(list[0], { name: 'of ••••••', value: '••••••', unit: '••••••' });
  assert.deepEqual(list[1], { name: 'requests', value: 5, unit: 'ms' });
});
