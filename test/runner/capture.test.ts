import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AppLog } from '../../src/logs/app-log.ts';
import { Framer } from '../../src/logs/framer.ts';
import { Allowance } from '../../src/runner/allowance.ts';
import { Capture } from '../../src/runner/output/capture.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { Masker } from '../../src/system/text/mask/masker.ts';
import { appLog, linesOf } from '../support/app-log.ts';
import { removeDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const line = 'x'.repeat(99);

test('output beyond the allowance of an app is read at its rate, by all captures together', async (t) => {
  const allowance = new Allowance(256 * 1024, 1024 * 1024, performance.now());
  const begun = performance.now();
  const flooded = await Promise.all([flood(t, 'web.0', allowance), flood(t, 'web.1', allowance)]);
  const seen = () => flooded.reduce((sum, each) => sum + each.seen(), 0);
  await waitFor(() => seen() > 1024 * 1024);
  // The burst is free, and the last chunk of each is counted after it has been read.
  const free = 256 * 1024 + 2 * 48 * 1024;
  const atLeast = ((1024 * 1024 - free) / (1024 * 1024)) * 1000;
  assert.ok(performance.now() - begun >= atLeast);
  assert.ok(flooded.every((each) => each.limited() > 0));
});

test('output within the allowance is read at once, and completely', async (t) => {
  const { directory, limited, ended } = await flood(
    t,
    'web.0',
    new Allowance(64 * 1024 ** 2, 1024, performance.now()),
    10_000,
  );
  await ended;
  assert.equal(limited(), 0);
  assert.equal(linesOf(await appLog(directory), 'web.0').filter((each) => each === line).length, 10_000);
});

test('output beyond the allowance is late, and complete', async (t) => {
  const allowance = new Allowance(64 * 1024, 1024 * 1024, performance.now());
  const { directory, limited, ended } = await flood(t, 'web.0', allowance, 5000);
  await ended;
  assert.ok(limited() > 0);
  assert.equal(linesOf(await appLog(directory), 'web.0').filter((each) => each === line).length, 5000);
});

test('output that takes long to process uses up the allowance, each chunk 16 ms at most', async (t) => {
  const perMs = 64 * 1024;
  const framer = (busy: number) =>
    new (class extends Framer {
      override push(text: string, at: Date): string {
        for (const over = performance.now() + busy; performance.now() < over; );
        return super.push(text, at);
      }
    })({ release: 1, process: 'web.0' }, 'out', new Masker([]));
  const allowance = (ms: number) => new Allowance(ms * perMs, 1, performance.now());
  const isLimited = async (busy: number, ms: number) => {
    const { limited, ended } = await flood(t, 'web.0', allowance(ms), 1, framer(busy));
    let isOver = false;
    void ended.then(() => {
      isOver = true;
    });
    await waitFor(() => isOver || limited() > 0);
    return limited() > 0;
  };
  assert.equal(await isLimited(10, 9), true);
  assert.equal(await isLimited(50, 17), false);
});

/** Captures a process that prints as fast as it can. @param lines that it prints; without end if left out */
async function flood(
  t: TestContext,
  process: string,
  allowance: Allowance,
  lines?: number,
  framer = new Framer({ release: 1, process }, 'out', new Masker([])),
) {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  const logs = join(directory, 'logs');
  const failed = (error: Error) => assert.fail(error);
  const log = new AppLog({ directory: () => logs, size: 2 ** 30, rotated: () => undefined, failed });
  const fifo = join(directory, 'out');
  execFileSync('mkfifo', [fifo]);
  const fd = openSync(fifo, constants.O_RDWR);
  const command = lines === undefined ? `yes ${line}` : `yes ${line} | head -n ${lines}`;
  const child = spawn('sh', ['-c', command], { stdio: ['ignore', fd, 'inherit'], detached: true });
  let [seen, limited] = [0, 0];
  const capture = new Capture(fifo, {
    log,
    framer,
    allowance,
    tails: [
      {
        add: (text) => {
          seen += text.length;
        },
      },
    ],
    limited: () => {
      limited += 1;
    },
  });
  closeSync(fd);
  t.after(async () => {
    signalProcess(-(child.pid as number), 'SIGKILL');
    await capture.stop();
    await log.remove();
    await removeDirectory(directory);
  });
  return { directory: logs, ended: capture.ended, seen: () => seen, limited: () => limited };
}
