import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { LogFilter } from '../../src/logs/filter.ts';
import type { LogLine } from '../../src/logs/line.ts';
import { readLog } from '../../src/logs/read.ts';
import { LogWriter } from '../support/log-writer.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const signal = new AbortController().signal;

async function writer(t: TestContext): Promise<LogWriter> {
  return new LogWriter(join(await temporaryDirectory(t), 'logs'));
}

function read(log: LogWriter, lines: number | null = null, filter: LogFilter = {}): Promise<LogLine[]> {
  return Array.fromAsync(readLog(log.directory, { lines, filter, follow: false, signal }));
}

async function texts(log: LogWriter, lines: number | null = null, filter: LogFilter = {}): Promise<string[]> {
  return (await read(log, lines, filter)).map(({ text }) => text);
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => String(from + index));
}

test('a log that does not exist yet has no lines', async (t) => {
  assert.deepEqual(await texts(new LogWriter(await temporaryDirectory(t)), 10), []);
  const gone = { lines: 5, filter: {}, follow: false, signal };
  assert.deepEqual(await Array.fromAsync(readLog('/nonexistent/logs', gone)), []);
});

test('the last lines come in order, over the file that is written, rotated ones and compressed ones', async (t) => {
  const log = await writer(t);
  for (let file = 0; file < 6; file += 1) {
    log.lines(numbers(file * 100, file * 100 + 100));
    if (file < 5) log.rotate();
    if (file < 3) log.compress(file + 1);
  }
  for (const count of [0, 1, 99, 100, 101, 250, 301, 450, 599, 600]) {
    assert.deepEqual(await texts(log, count), numbers(600 - count, 600), `${count} lines`);
  }
  assert.deepEqual(await texts(log, 10_000), numbers(0, 600));
  assert.deepEqual(await texts(log), numbers(0, 600));
});

test('lines are right, wherever a block of the file ends', async (t) => {
  const log = await writer(t);
  const all = numbers(0, 3000).map((number) => number + 'x'.repeat(Number(number) % 997));
  log.lines(all);
  for (const count of [1, 2, 57, 500, 2999]) assert.deepEqual(await texts(log, count), all.slice(-count));
});

test('only the files that are needed are opened', async (t) => {
  const log = await writer(t);
  log.line('never');
  writeFileSync(join(log.directory, 'app.log.1.gz'), 'this is no gzip');
  log.rotate();
  for (let file = 0; file < 3; file += 1) {
    log.lines(['one', 'two']);
    log.rotate();
  }
  log.remove(1);
  writeFileSync(join(log.directory, 'app.log.1.gz'), 'this is no gzip');
  assert.deepEqual(await texts(log, 3), ['two', 'one', 'two']);
  utimesSync(join(log.directory, 'app.log.1.gz'), 1000, 1000);
  const since = new Date(Date.now() - 3_600_000);
  assert.equal((await texts(log, null, { since })).length, 6);
  const [damage] = await read(log);
  assert.equal(damage?.stream, 'sys');
  assert.match(damage?.text ?? '', /^app\.log\.1\.gz is damaged, the rest of it is missing: /);
});

test('a thousand rotated files are read, and a file that exists twice is read once', async (t) => {
  const log = await writer(t);
  for (let file = 0; file < 1000; file += 1) {
    log.line(String(file));
    log.rotate();
    if (file % 3 === 0) log.compress(file + 1);
  }
  const content = readFileSync(join(log.directory, 'app.log.1000.gz'));
  assert.ok(content.length > 0);
  log.line('1000');
  assert.deepEqual(await texts(log, 3), ['998', '999', '1000']);
  assert.deepEqual(await texts(log), numbers(0, 1001));
  appendFileSync(join(log.directory, 'app.log.1000'), '');
  log.remove(500);
  assert.equal((await texts(log, 700)).length, 700);
});

test('lines are filtered by time, release, process and stream', async (t) => {
  const log = await writer(t);
  const start = Date.UTC(2026, 0, 1);
  const all: { release: number; process: string; stream: 'out' | 'err' | 'sys'; text: string; at: number }[] =
    [];
  const processes = ['web.0', 'web.1', 'web.10', 'worker.0', 'cron.web'];
  for (let index = 0; index < 600; index += 1) {
    const line = {
      release: index % 3,
      process: processes[index % 5] as string,
      stream: (['out', 'err', 'sys'] as const)[(index % 7) % 3] as 'out' | 'err' | 'sys',
      text: String(index),
      at: start + index * 1000,
    };
    all.push(line);
    log.line(line.text, { ...line, time: new Date(line.at) });
    if (index % 100 === 99) log.compress(log.rotate() - 1);
  }
  const cases: [LogFilter, (line: (typeof all)[number]) => boolean][] = [
    [{ release: 2 }, ({ release }) => release === 2],
    [{ process: 'web' }, ({ process }) => /^web\./.test(process)],
    [{ process: 'web.1' }, ({ process }) => process === 'web.1'],
    [{ process: '1' }, ({ process }) => process === 'web.1'],
    [{ process: 'worker' }, ({ process }) => process === 'worker.0'],
    [{ process: 'cron.web' }, ({ process }) => process === 'cron.web'],
    [{ process: 'we' }, () => false],
    [{ streams: ['out', 'err'] }, ({ stream }) => stream !== 'sys'],
    [{ since: new Date(start + 250_000) }, ({ at }) => at >= start + 250_000],
    [
      { since: new Date(start + 90_500), release: 1, process: '0', streams: ['out'] },
      ({ at, release, process, stream }) =>
        at >= start + 90_500 && release === 1 && process === 'web.0' && stream === 'out',
    ],
  ];
  for (const [filter, wanted] of cases) {
    const right = all.filter(wanted).map(({ text }) => text);
    const what = JSON.stringify(filter);
    assert.deepEqual(await texts(log, null, filter), right, what);
    for (const count of [1, 7, 50])
      assert.deepEqual(await texts(log, count, filter), right.slice(-count), what);
  }
});

test('parts of a long line are one line, also across files and with other lines between them', async (t) => {
  const log = await writer(t);
  log.line('before');
  const part = `${'ä'.repeat(8000)}x`;
  const bytes = Buffer.from(part.repeat(8));
  for (let at = 0; at < bytes.length; at += 16_383) {
    log.line(bytes.subarray(at, at + 16_383), { continued: at + 16_383 < bytes.length });
    log.line(`meanwhile ${at}`, { process: 'web.1' });
    log.line('same name', { release: 2 });
    if (at > 0 && at % (3 * 16_383) === 0) log.compress(log.rotate() - 1);
  }
  log.line('after');
  const all = await texts(log);
  assert.equal(all.filter((text) => text === bytes.toString()).length, 1);
  assert.ok(all.every((text) => !text.includes('\ufffd')));
  for (let count = 1; count < all.length; count += 1) {
    assert.deepEqual(await texts(log, count), all.slice(-count), `${count} lines`);
  }
});

test('a line is cut after a mebibyte', async (t) => {
  const log = await writer(t);
  log.line('first');
  const long = 'é'.repeat(1024 * 1024);
  const bytes = Buffer.from(`x${long}end`);
  for (let at = 0; at < bytes.length; at += 60_000) {
    log.line(bytes.subarray(at, at + 60_000), { continued: at + 60_000 < bytes.length });
  }
  const [first, ...pieces] = await texts(log, 2);
  assert.equal(first, 'first');
  assert.deepEqual(pieces.map(Buffer.byteLength as (text: string) => number), [1024 ** 2 - 1, 1024 ** 2, 5]);
  assert.equal(pieces.join(''), bytes.toString());
});

test('bytes that are not UTF-8 and torn lines are shown', async (t) => {
  const log = await writer(t);
  log.line(Buffer.from([0x61, 0xff, 0xfe, 0x00, 0x62]), { time: new Date('2026-01-01T00:00:00Z') });
  log.bytes('2026-01-01T00:0\n\n');
  log.line('carriage\rreturn\u2028', { time: new Date('2026-01-02T00:00:00Z') });
  log.bytes('2026-01-01T00:00:00.000Z 1 web.0 out not yet');
  const [binary, torn, last, ...more] = await read(log, 5);
  assert.equal(binary?.text, 'a\ufffd\ufffd\u0000b');
  assert.deepEqual(torn, {
    time: '2026-01-01T00:00:00.000Z',
    release: 0,
    process: '-',
    stream: 'sys',
    text: '2026-01-01T00:0',
  });
  assert.equal(last?.text, 'carriage\rreturn\u2028');
  assert.deepEqual(more, [], 'a line without an end is not read yet');
  assert.deepEqual(await texts(log, null, { since: new Date('2026-01-01T12:00:00Z') }), [
    'carriage\rreturn\u2028',
  ]);
  assert.equal((await texts(log, 2)).length, 2);
  log.rotate();
  assert.equal((await texts(log, 1))[0], 'not yet');
});

test('ten lines of a log of 100 MB take the memory of ten lines (thorough)', async (t) => {
  const log = await writer(t);
  const texts100 = numbers(0, 1000).map((number) => `${number} ${'x'.repeat(1000)}`);
  for (let block = 0; block < 100; block += 1) log.lines(texts100);
  const cost = async (read: () => Promise<unknown>) => {
    const before = process.memoryUsage.rss();
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss());
    }, 1);
    await read();
    clearInterval(timer);
    const mebibytes = (Math.max(most, process.memoryUsage.rss()) - before) / 1024 ** 2;
    assert.ok(mebibytes < 80, `it took ${mebibytes} MiB`);
  };
  await cost(async () => assert.equal((await texts(log, 10)).length, 10));
  // None matches, so that all of it is looked at.
  await cost(async () => assert.equal((await texts(log, 10, { release: 7 })).length, 0));
  log.rotate();
  log.compressAll();
  await cost(async () => assert.equal((await texts(log, 10)).length, 10));
});
