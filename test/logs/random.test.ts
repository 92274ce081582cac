import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { type LogFilter, matchesOrigin } from '../../src/logs/filter.ts';
import type { LogStream } from '../../src/logs/line.ts';
import { readLog } from '../../src/logs/read.ts';
import { LogWriter } from '../support/log-writer.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** The same numbers each time: a failure can be looked at again. */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  below(end: number): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647;
    return this.#state % end;
  }
  /** the first one mostly */
  pick<T>(first: T, ...others: T[]): T {
    return this.below(4) > 0 ? first : (others[this.below(others.length)] as T);
  }
}

const start = Date.UTC(2026, 0, 1);

/** Parts of lines of several origins, torn lines, rotations, compressed files. */
function write(log: LogWriter, random: Random, count: number): void {
  let clock = start;
  for (let index = 0; index < count; index += 1) {
    clock += random.below(2000);
    const kind = index === 0 ? 2 : random.below(50);
    if (kind === 0) log.bytes(`torn ${index}\n`);
    else if (kind === 1) {
      const number = log.rotate();
      if (random.below(2) === 0) log.compress(number);
    } else {
      log.line(`${index} ${'é'.repeat(random.below(random.pick(50, 9000)))}`, {
        time: new Date(clock),
        release: random.pick(1, 2),
        process: random.pick('web.0', 'web.1', 'worker.0'),
        stream: random.pick<LogStream>('out', 'err', 'sys'),
        continued: random.below(6) === 0,
      });
    }
  }
}

for (const seed of [1, 7, 1_121_567_523, 42, 99]) {
  test(`the last matching lines are the end of all matching lines (${seed})`, async (t) => {
    const random = new Random(seed);
    const log = new LogWriter(join(await temporaryDirectory(t), 'logs'));
    const count = 100 + random.below(300);
    write(log, random, count);
    const { signal } = new AbortController();
    const read = (filter: LogFilter, lines: number | null) =>
      Array.fromAsync(readLog(log.directory, { filter, lines, follow: false, signal }));
    const everything = await read({}, null);
    const since = new Date(start + random.below(count * 1000));
    for (const filter of [{}, { process: '0' }, { release: 2 }, { since }, { since, process: 'worker' }]) {
      const from = 'since' in filter ? since : new Date(0);
      const all = everything.filter((line) => matchesOrigin(filter, line) && new Date(line.time) >= from);
      assert.deepEqual(await read(filter, null), all);
      for (const wanted of [1, 2, 3, 10, 1 + random.below(count), all.length, all.length + 1]) {
        const right = all.slice(Math.max(0, all.length - wanted));
        assert.deepEqual(await read(filter, wanted), right, `${wanted} of ${JSON.stringify(filter)}`);
      }
    }
  });
}
