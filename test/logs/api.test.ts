import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LogEntry } from '../../src/api/routes/logs.ts';
import { LogWriter } from '../support/log-writer.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
// Variables create an app: it need not run to have a log.
await sluice.call('PATCH', '/v1/apps/shop/env', { SECRET: 'open-sesame' });
const log = new LogWriter(join(sluice.paths.apps, 'shop/production/logs'));
const hour = 3_600_000;
const now = Date.now();
log.line('old', { time: new Date(now - 30 * hour), release: 1 });
log.compress(log.rotate());
log.line('started', { time: new Date(now - 2 * hour), release: 2, stream: 'sys' });
log.line('{"level":30,"msg":"hello","pass":"open-sesame"}', { time: new Date(now - 2 * hour), release: 2 });
log.line('no {"json"}', { time: new Date(now - hour), release: 2, process: 'web.1', stream: 'err' });
log.line('[1]', { time: new Date(now - 1000), release: 3, process: 'worker.0' });

const text = async (query: string) => (await sluice.request(`/v1/apps/shop/logs${query}`)).text();
const entries = async (query = ''): Promise<LogEntry[]> => {
  const headers = { accept: 'application/x-ndjson' };
  const response = await sluice.request(`/v1/apps/shop/logs${query}`, { headers });
  assert.match(response.headers.get('content-type') ?? '', /^application\/x-ndjson/);
  return (await response.text())
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
};

test('the text of a log is exactly what the app has printed', async () => {
  assert.equal(await text(''), 'old\n{"level":30,"msg":"hello","pass":"••••••"}\nno {"json"}\n[1]\n');
  assert.equal(await text('?lines=2'), 'no {"json"}\n[1]\n');
  assert.equal(await text('?stream=sys'), 'started\n');
});

test('JSON has the origin of each line, and the fields of a line that is a JSON object', async () => {
  const all = await entries();
  assert.deepEqual(
    all.map(({ line }) => line),
    ['old', 'started', '{"level":30,"msg":"hello","pass":"••••••"}', 'no {"json"}', '[1]'],
  );
  assert.deepEqual(all[2], {
    time: new Date(now - 2 * hour).toISOString(),
    release: 2,
    process: 'web.0',
    stream: 'out',
    line: '{"level":30,"msg":"hello","pass":"••••••"}',
    json: { level: 30, msg: 'hello', pass: '••••••' },
  });
  assert.deepEqual(
    all.map(({ json }) => json !== undefined),
    [false, false, true, false, false],
  );
});

test('lines are filtered by time, release, process and stream', async () => {
  const lines = async (query: string) => (await entries(query)).map(({ line }) => line);
  assert.deepEqual(await lines('?since=90m'), ['no {"json"}', '[1]']);
  assert.deepEqual(await lines('?since=3h&release=2&stream=err'), ['no {"json"}']);
  assert.deepEqual(await lines(`?since=${new Date(now - 1500).toISOString()}`), ['[1]']);
  assert.deepEqual(await lines('?worker=web&stream=out'), [
    'old',
    '{"level":30,"msg":"hello","pass":"••••••"}',
  ]);
  assert.deepEqual(await lines('?worker=1'), ['no {"json"}']);
  assert.deepEqual(await lines('?stream=sys,err&lines=1'), ['no {"json"}']);
  assert.deepEqual(await lines('?since=2d&lines=1'), ['[1]']);
});

test('an invalid filter is rejected with the valid values', async () => {
  for (const [query, message] of [
    ['?since=yesterday', /invalid since: "yesterday"/],
    ['?since=2026-02-31T10:00:00Q', /invalid since/],
    ['?release=x', /invalid release: "x"/],
    ['?worker=web%2F0', /invalid worker/],
    ['?stream=stdout', /invalid stream/],
    ['?lines=-1', /lines/],
    ['?line=1', /unknown parameter of .+: line/],
  ] as const) {
    const response = await sluice.request(`/v1/apps/shop/logs${query}`);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    assert.deepEqual([response.status, error.code], [400, 'bad_request']);
    assert.match(error.message, message);
  }
});

test('a pausing reader gets every line, in any script', async () => {
  await sluice.call('PATCH', '/v1/apps/scribe/env', { LANG: 'ja' });
  const scribe = new LogWriter(join(sluice.paths.apps, 'scribe/production/logs'));
  const line = (number: number) => `${number} ${'東京都渋谷区'.repeat(20)}`;
  const count = 30_000;
  scribe.lines(Array.from({ length: count }, (_, number) => line(number)));

  const request = get(`${sluice.url}/v1/apps/scribe/logs?lines=${count}`, {
    headers: { authorization: `Bearer ${sluice.token}` },
    agent: false,
  });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  // The unread answer fills all buffers up to the server; each call gives the server time to write more.
  for (let call = 0; call < 200; call += 1) await sluice.status('shop');
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  const lines = text.split('\n');
  assert.equal(lines.length, count + 1);
  for (let number = 0; number < count; number += 1) assert.equal(lines[number], line(number));
});

test('a followed log continues through rotations, and new secrets are masked', async () => {
  const hangUp = new AbortController();
  const response = await sluice.request('/v1/apps/shop/logs?lines=1&follow=1', { signal: hangUp.signal });
  let heard = '';
  const reading = (async () => {
    for await (const chunk of response.body ?? []) heard += new TextDecoder().decode(chunk);
  })();
  reading.catch(() => undefined);
  await waitFor(() => heard === '[1]\n');
  log.line('next');
  log.compress(log.rotate());
  log.line('after');
  await waitFor(() => heard === '[1]\nnext\nafter\n');
  await sluice.call('PATCH', '/v1/apps/shop/env', { OTHER: 'swordfish' });
  // The values are looked at once a second.
  await waitFor(() => {
    log.line('it is swordfish');
    return heard.includes('it is ••••••\n');
  });
  assert.ok(heard.includes('next\n'));
  hangUp.abort();
});
