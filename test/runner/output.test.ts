import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { rotatedLogs } from '../../src/logs/files.ts';
import type { LogRecord } from '../../src/logs/line.ts';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { appLog, linesOf } from '../support/app-log.ts';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

async function texts(spec: GenerationSpec, stream = 'out'): Promise<string[]> {
  return linesOf(await appLog(spec.log.directory), 'web.0', stream);
}

test('a line is in the log with its time, release, worker and stream', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 2 });
  const before = new Date().toISOString();
  await runner.release(spec);
  await fetchText(runner.port, '/count?lines=3');
  const lines = await waitFor(async () => {
    const all = (await appLog(spec.log.directory)).filter(({ text }) => text.includes('line 2'));
    return all.length > 0 && all;
  });
  const [line] = lines;
  assert.ok(line !== undefined && line.time >= before && line.time <= new Date().toISOString());
  assert.match(line.process, /^web\.[01]$/);
  assert.deepEqual([line.release, line.stream, line.continued], [spec.release, 'out', false]);
});

test('all output that a worker prints right before its end is logged (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 });
  await runner.release(spec);
  await fetchText(runner.port, '/exit?lines=20000');
  await waitFor(async () => (await texts(spec, 'err')).length > 0);
  await waitFor(async () => (await texts(spec)).length >= 20_000);
  assert.deepEqual(
    await texts(spec),
    Array.from({ length: 20_000 }, (_, line) => `last ${line}`),
  );
  assert.deepEqual(await texts(spec, 'err'), ['and this on stderr']);
  const said = await waitFor(async () =>
    (await texts(spec, 'sys')).find((text) => text.includes('status 3')),
  );
  assert.match(said, /^worker 0 \(pid \d+\) ended with exit status 3 after .*; it is started again at once$/);
});

test('all output before the end is logged, even if a child shares stdout (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 });
  await runner.release(spec);
  await fetchText(runner.port, '/fork?lines=20000');
  await waitFor(async () => (await texts(spec)).length >= 20_001, { what: 'all lines' });
  assert.equal((await texts(spec))[0], 'from the child');
});

test('incomplete or unreadable output records do not keep a runner from starting (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 });
  await runner.release(spec);
  await runner.kill();
  const { outputs } = runner.paths;
  const record = JSON.stringify({ origin: { release: 1, process: 'web.0' }, log: spec.log });
  // Killed between the record and its FIFOs, as an earlier version could be; and a file in the place of one.
  await writeFile(join(outputs, 'no-fifos.json'), record);
  await writeFile(join(outputs, 'no-fifo.json'), record);
  for (const kind of ['out', 'err']) await writeFile(join(outputs, `no-fifo.${kind}`), 'text');
  const garbage = [
    '{}',
    'null',
    '5',
    '{"origin":{},"log":{"directory":"/tmp","schedule":"never"}}',
    'half a rec',
  ];
  for (const [index, text] of garbage.entries())
    await writeFile(join(outputs, `garbage-${index}.json`), text);
  await runner.launch();
  await runner.release(runner.spec('plain.cjs'));
  assert.equal((await fetchText(runner.port)).status, 200);
  await waitFor(async () => !(await readdir(outputs)).some((name) => name.startsWith('no-fifo')), {
    what: 'the end of what was left',
  });
});

test('bytes, split characters, empty lines, carriage returns and colours are logged unchanged (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 });
  await runner.release(spec);
  const euro = Buffer.from('1 €\n');
  // A character in two writes; bytes that are no UTF-8; a NUL; an empty line; CR LF; a colour.
  const pieces = [euro.subarray(0, 3), euro.subarray(3), Buffer.from([0xff, 0x00, 0x0a, 0x0a])];
  pieces.push(Buffer.from('end\r\n\u001B[31mred\u001B[0m\n'));
  for (const piece of pieces) await fetchText(runner.port, `/bytes?hex=${piece.toString('hex')}`);
  await waitFor(async () => (await texts(spec)).length === 5);
  const expected = ['1 €', Buffer.from([0xff, 0x00]), '', 'end', '\u001B[31mred\u001B[0m'];
  assert.deepEqual(
    await texts(spec),
    expected.map((text) => Buffer.from(text as string).toString('latin1')),
  );
});

test('a line of a megabyte is logged in parts, and a line without an end is logged after a second (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 });
  await runner.release(spec);
  await fetchText(runner.port, `/long?length=${1024 ** 2}`);
  await fetchText(runner.port, `/bytes?hex=${Buffer.from('Password: ').toString('hex')}`);
  await waitFor(async () => (await appLog(spec.log.directory)).some(({ text }) => text === 'Password: '));
  const records = (await appLog(spec.log.directory)).filter(({ stream }) => stream === 'out');
  const end = records.findIndex(({ continued }) => !continued);
  assert.ok(end > 10, `${end} parts`);
  assert.equal(
    records.slice(0, end + 1).reduce((length, { text }) => length + text.length, 0),
    1024 ** 2,
  );
  assert.ok(records.every(({ text }) => text.length <= 64 * 1024));
  assert.equal(records.at(-1)?.continued, true);
});

test('values of variables are masked on the disk (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 }, { PASSWORD: 'größer-als' });
  spec.log.secrets = ['größer-als'];
  await runner.release(spec);
  await fetchText(runner.port, '/secret');
  await waitFor(async () => (await texts(spec)).length > 0);
  const [line = ''] = await texts(spec);
  assert.equal(Buffer.from(line, 'latin1').toString(), 'the password is ••••••, yes');
});

test('without a runner, an app prints without waiting, and no output is lost', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 });
  await runner.release(spec);
  await runner.kill();
  // Twenty times what a pipe takes.
  assert.equal((await fetchText(runner.port, '/count?lines=30000')).body, 'printed');
  await runner.launch();
  await waitFor(async () => (await texts(spec)).length >= 30_000);
  assert.deepEqual(await texts(spec), numbered(30_000));
});

test('a runner that leaves loses no output (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1 });
  await runner.release(spec);
  const printed = fetchText(runner.port, '/count?lines=200000');
  for (let count = 1; count <= 3; count += 1) {
    await waitFor(async () => (await texts(spec)).length > count * 20_000);
    await runner.leave();
    await runner.launch();
  }
  assert.equal((await printed).body, 'printed');
  await waitFor(async () => (await texts(spec)).length >= 200_000);
  assert.deepEqual(await texts(spec), numbered(200_000));
});

test('with `logOverflow: drop`, an app that prints too fast loses lines, gets a note, and does not wait (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 1, logOverflow: 'drop' });
  await runner.release(spec);
  runner.process.kill('SIGSTOP');
  t.after(() => runner.process.kill('SIGCONT'));
  assert.equal((await fetchText(runner.port, '/count?lines=100000')).body, 'printed');
  runner.process.kill('SIGCONT');
  const lines = await waitFor(async () => {
    const all = await texts(spec);
    return all.some((text) => text.startsWith('sluice: ')) && all;
  });
  const dropped = Number(
    /^sluice: (\d+) writes were dropped/.exec(lines.find((text) => text.startsWith('sluice: ')) ?? '')?.[1],
  );
  const kept = lines.filter((text) => text.startsWith('line ')).length;
  assert.equal(dropped + kept, 100_000);
  assert.ok(dropped > 10_000);
});

function numbered(lines: number): string[] {
  return Array.from({ length: lines }, (_, line) => `line ${line} of a log that has something to say`);
}

test('500,000 lines of two workers survive rotations, a killed runner and a switch: each once, in order (thorough)', async (t) => {
  const wanted = 500_000;
  const runner = await TestRunner.start(t);
  const spec = runner.spec('printing.cjs', { workers: 2, drainTimeout: '90s' });
  spec.log = { ...spec.log, size: 1024 ** 2, keep: 10_000 };
  await runner.release(spec);
  const printed = await askBoth(runner.port, wanted);
  await waitFor(async () => (await rotations(spec)) > 20, { what: 'rotations' });
  await runner.kill();
  await runner.launch();
  await waitFor(async () => (await rotations(spec)) > 40, { what: 'rotations by the next runner' });
  await runner.release({ ...runner.spec('plain.cjs'), log: spec.log });
  assert.deepEqual(await Promise.all(printed), ['printed', 'printed']);
  await waitFor(async () => (await readdir(runner.paths.outputs)).length === 6, {
    what: 'the end of the old',
  });

  const records = (await settledLog(spec)).filter(
    ({ release, stream }) => release === spec.release && stream === 'out',
  );
  for (const process of ['web.0', 'web.1']) {
    const texts = linesOf(records, process);
    const numbers = texts
      .flatMap((text) => /^line (\d+) of a log that has something to say$/.exec(text)?.[1] ?? [])
      .map(Number);
    // What is lost at the kill may begin and end in the middle of a line: the rest of the last one is left.
    assert.ok(texts.length - numbers.length <= 1, `${texts.length - numbers.length} fragments`);
    const missing = gaps(numbers, wanted);
    t.diagnostic(`${process}: ${numbers.length} lines, ${JSON.stringify(missing)} missing`);
    assert.ok(missing.length <= 1, `${missing.length} gaps`);
    const bytes = missing.reduce(
      (sum, { from, to }) => sum + (to - from) * 'line 100000 of a log that has something to say\n'.length,
      0,
    );
    assert.ok(bytes <= 64 * 1024, `${bytes} bytes are missing`);
  }
});

/** Sends requests until both workers print. @returns their pending answers */
async function askBoth(port: number, lines: number): Promise<Promise<string>[]> {
  const printing: Promise<string>[] = [];
  while (printing.length < 2) {
    const request = get({ host: '127.0.0.1', port, path: `/count?lines=${lines}`, agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const answer = text(response);
    if (response.headers['x-begins'] === 'true') printing.push(answer);
  }
  return printing;
}

async function rotations(spec: GenerationSpec): Promise<number> {
  return (await rotatedLogs(spec.log.directory)).at(-1)?.number ?? 0;
}

/** Waits until all rotated files are compressed, so that no file is renamed any more. */
async function settledLog(spec: GenerationSpec): Promise<LogRecord[]> {
  await waitFor(async () => (await rotatedLogs(spec.log.directory)).every(({ compressed }) => compressed), {
    timeout: 30_000,
    what: 'compression',
  });
  return appLog(spec.log.directory, 1);
}

/** Returns the missing numbers. Throws if numbers are out of order or repeated. */
function gaps(numbers: number[], wanted: number): { from: number; to: number }[] {
  const found: { from: number; to: number }[] = [];
  let next = 0;
  for (const number of [...numbers, wanted]) {
    assert.ok(number >= next, `${number} after ${next - 1}`);
    if (number > next) found.push({ from: next, to: number });
    next = number + 1;
  }
  return found;
}
