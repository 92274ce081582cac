import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AppLog } from '../../src/logs/app-log.ts';
import { Framer } from '../../src/logs/framer.ts';
import { parseLine } from '../../src/logs/line.ts';
import { Masker } from '../../src/system/mask/masker.ts';

const origin = { release: 1, process: 'web.0' };

/** The text of records, lines that were written in parts put together. */
function textOf(records: string): string {
  const lines = records.split('\n').slice(0, -1);
  return lines
    .map((line) => {
      const record = parseLine(line);
      assert.ok(record !== undefined, line);
      return record.continued ? record.text : `${record.text}\n`;
    })
    .join('');
}

/** The same numbers for the same seed: 0 and more, less than `below`. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test('a value is masked wherever a process pauses in the middle of it', () => {
  // Capitals and digits are in values alone, so that nothing of one can hide in other text.
  const capital = randomNumbers(0);
  const capitals = (length: number) =>
    Array.from({ length }, () => String.fromCharCode(0x41 + capital(26))).join('');
  const secrets = ['HUNTER22', 'A7B6C5D4E3F2', capitals(60), capitals(30_000)];
  const masker = new Masker(secrets);
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = randomNumbers(seed);
    const text = Array.from({ length: 20 }, () => `a ${secrets[random(4)]} b${'\n'.repeat(random(2))}`).join(
      '',
    );
    const framer = new Framer(origin, 'out', masker);
    let records = '';
    for (let at = 0; at < text.length; ) {
      const to = at + 1 + random(random(2) === 0 ? 30 : 30_000);
      records += framer.push(text.slice(at, to), new Date());
      if (random(2) === 0) records += framer.part(new Date());
      assert.ok(framer.held <= 16 * 1024, `${framer.held} bytes are held`);
      at = to;
    }
    records += framer.end(new Date());
    const shown = textOf(records);
    // The first character of a value, before a pause, is no sign of the value.
    const left = shown.match(/[A-Z0-9]+/g) ?? [];
    assert.ok(left.every((piece) => piece.length === 1) && left.length <= 20, `seed ${seed}: ${left}`);
    assert.equal(shown.split('\n').length, text.replace(/\n?$/, '\n').split('\n').length);
  }
});

test('a value that goes on in the next line is masked in both, though the lines come one after the other', () => {
  const framer = new Framer(origin, 'out', new Masker(['tr0ub4dor-and-more']));
  const first = framer.push('before\nkey: tr0ub4dor\n', new Date());
  assert.equal(textOf(first), 'before\n');
  assert.equal(framer.isHolding, true);
  const second = framer.push('-and-more\n', new Date());
  assert.equal(Buffer.from(textOf(second), 'latin1').toString(), 'key: ••••••\n••••••\n');
});

test('a line that only looks like the beginning of a value is shown with the next line, or a moment later', () => {
  const framer = new Framer(origin, 'out', new Masker(['https://shop.example.com/key']));
  assert.equal(framer.push('see https://shop.example.com\n', new Date()), '');
  assert.equal(textOf(framer.push('next\n', new Date())), 'see https://shop.example.com\nnext\n');
  assert.equal(framer.push('see https://shop.example.com\n', new Date()), '');
  assert.equal(textOf(framer.part(new Date())), 'see https://shop.example.com\n');
  assert.equal(framer.isHolding, false);
});

test('a line costs at most twice as much with 1,000 variables as with none', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  const failed = (error: Error) => assert.fail(error);
  const log = new AppLog({ directory, size: 2 ** 40, rotated: () => undefined, failed });
  t.after(async () => {
    await log.end();
    await rm(directory, { recursive: true });
  });
  const random = randomNumbers(1);
  const word = (length: number) => Array.from({ length }, () => random(36).toString(36)).join('');
  const values = Array.from({ length: 1000 }, () => `https://api.example.com/${word(16)}`);
  values.push(word(127 * 1024), Array.from({ length: 10_000 }, () => word(12)).join('\n'));
  const line = (number: number) =>
    `{"level":30,"time":1767225600${number},"req":{"method":"GET","url":"/cart/${number}"},"msg":"done in ${number % 9} ms"}\n`;
  const lines = Array.from({ length: 400 }, (_, number) => line(number)).join('');

  const framers = [new Masker([]), new Masker(values)].map((masker) => new Framer(origin, 'out', masker));
  const costs = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY] as [number, number];
  // The cheapest of many rounds, in turns: others use the processor, too. More rounds can only make it less wrong.
  const end = performance.now() + 60_000;
  for (let round = 0; round < 40 || (costs[1] > 2 * costs[0] && performance.now() < end); round += 1) {
    for (const [index, framer] of framers.entries()) {
      const start = process.cpuUsage();
      for (let times = 0; times < 10; times += 1) await log.write(framer.push(lines, new Date()));
      const { user, system } = process.cpuUsage(start);
      costs[index] = Math.min(costs[index] as number, user + system);
    }
  }
  const [without, masked] = costs;
  t.diagnostic(`CPU per line: ${(masked / without).toFixed(2)} times that without variables`);
  assert.ok(masked <= 2 * without, `${masked} to ${without} µs`);
});
