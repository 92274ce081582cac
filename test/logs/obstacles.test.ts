import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AppLog } from '../../src/logs/app-log.ts';
import { linePrefix } from '../../src/logs/line.ts';
import { appLog } from '../support/app-log.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const origin = { release: 1, process: 'web.0' };

function open(t: TestContext, directory: string): AppLog {
  const log = new AppLog({
    directory: () => directory,
    size: 1024 ** 3,
    rotated: () => undefined,
    failed: () => undefined,
  });
  t.after(() => log.close());
  return log;
}

function lines(from: number, to: number): string {
  const prefix = linePrefix(new Date(), origin, 'out');
  return Array.from(
    { length: to - from },
    (_, index) => `${prefix}${from + index} ${'x'.repeat(200)}\n`,
  ).join('');
}

test('on a full disk each dropped line is counted, no line is torn, and the log continues when there is space', {
  skip: process.getuid?.() === 0 ? false : 'only root may mount',
}, async (t) => {
  const mount = await temporaryDirectory(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mount]);
  using _mounted = { [Symbol.dispose]: () => execFileSync('umount', ['-l', mount]) };
  const log = open(t, join(mount, 'logs'));
  const filler = join(mount, 'filler');
  await writeFile(filler, Buffer.alloc(100 * 1024));
  for (let block = 0; block < 20; block += 1) await log.write(lines(block * 100, block * 100 + 100));
  await rm(filler);
  await waitFor(async () => {
    await log.write(`${linePrefix(new Date(), origin, 'out')}space again\n`);
    return (await appLog(join(mount, 'logs'))).some(({ text }) => text === 'space again');
  });
  const records = await appLog(join(mount, 'logs'));
  const whole = records.filter(({ text }) => / x{200}$/.test(text)).length;
  const told = records
    .map(({ text }) => Number(/^(\d+) lines could not be written/.exec(text)?.[1] ?? 0))
    .reduce((sum, each) => sum + each);
  const again = records.filter(({ text }) => text === 'space again').length;
  assert.ok(whole > 0 && told > 1000);
  // The tries until there was space again were lines, too.
  const tries = whole + told - 2000;
  assert.ok(tries >= 0 && tries < 600, `${whole} written, ${told} told as lost, ${again} after that`);
  assert.ok(
    records.every(({ text }) => text.length <= 210),
    'no two lines in one',
  );
});

test('a new file is created if the log or its directory is moved', async (t) => {
  const home = await temporaryDirectory(t);
  const directory = join(home, 'logs');
  const log = open(t, directory);
  await log.write(lines(0, 1));
  await rename(join(directory, 'app.log'), join(directory, 'moved'));
  await waitFor(async () => {
    await log.write(lines(1, 2));
    return (await appLog(directory)).length > 0;
  });
  await rm(directory, { recursive: true });
  await waitFor(async () => {
    await log.write(lines(2, 3));
    return (await appLog(directory)).length > 0;
  });
});

test('an app that was removed does not come back because a process of it still prints', async (t) => {
  const home = await temporaryDirectory(t);
  const directory = join(home, 'shop', 'logs');
  await mkdir(join(home, 'shop'));
  const log = open(t, directory);
  await log.write(lines(0, 1));
  await log.close();
  await rm(join(home, 'shop'), { recursive: true });
  await log.write(lines(1, 2));
  await assert.rejects(readFile(join(directory, 'app.log')), { code: 'ENOENT' });
});
