import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { AppLogs } from '../../src/logs/app-logs.ts';
import { rotatedLogs } from '../../src/logs/files.ts';
import { appLog } from '../support/app-log.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const policy = { size: 1024 ** 2, schedule: '* * * * * *', keep: 2, maxBytes: 1024 ** 3 };

test('logs that are not empty are rotated at their time, and the newest files are kept', async (t) => {
  const home = await temporaryDirectory(t);
  const [busy, quiet] = [join(home, 'busy'), join(home, 'quiet')];
  const faults: string[] = [];
  const logs = new AppLogs(
    async () => [busy, quiet],
    (what, error) => faults.push(`${what}: ${String(error)}`),
  );
  t.after(() => logs.closeAll());
  const log = logs.get({ ...policy, directory: busy });
  await logs.get({ ...policy, directory: quiet }).write('only one line\n');
  await waitFor(
    async () => {
      await log.write('a line\n');
      return ((await rotatedLogs(busy)).at(-1)?.number ?? 0) >= 4;
    },
    { interval: 100 },
  );
  await waitFor(async () => (await rotatedLogs(busy)).every(({ compressed }) => compressed));
  await waitFor(async () => (await rotatedLogs(busy)).length <= 2, { what: 'the end of the older ones' });
  assert.deepEqual(
    (await rotatedLogs(quiet)).map(({ number }) => number),
    [1],
  );
  assert.deepEqual(faults, []);
});

test('a log is rotated later if the machine was suspended at the time of its rotation', async (t) => {
  const directory = join(await temporaryDirectory(t), 'logs');
  const logs = new AppLogs(
    async () => [directory],
    (what, error) => assert.fail(`${what}: ${String(error)}`),
  );
  const clock = t.mock.timers;
  clock.enable({ apis: ['setTimeout', 'Date'], now: new Date(2026, 4, 1, 23, 0) });
  const log = logs.get({ ...policy, schedule: '0 0 * * *', directory });
  await log.write('a line\n');
  clock.setTime(new Date(2026, 4, 2, 5, 0).getTime());
  clock.tick(3_600_000);
  clock.reset();
  await waitFor(async () => (await rotatedLogs(directory)).length === 1, { what: 'the rotation' });
  await logs.closeAll();
});

test('the oldest files of all apps are removed until all logs are within their limit', async (t) => {
  const home = await temporaryDirectory(t);
  const directories = ['first', 'second'].map((name) => join(home, name));
  const logs = new AppLogs(
    async () => directories,
    (what, error) => assert.fail(`${what}: ${String(error)}`),
  );
  t.after(() => logs.closeAll());
  const never = { ...policy, schedule: '0 0 1 1 *', keep: 100, size: 20_000, maxBytes: 120_000 };
  const open = directories.map((directory) => logs.get({ ...never, directory }));
  // Letters that gzip makes little of: those of the second log alone come to some 130,000 bytes.
  const line = () =>
    `${Array.from({ length: 1000 }, () => Math.random().toString(36).slice(2, 3)).join('')}\n`;
  for (let count = 0; count < 400; count += 1) await open[count < 200 ? 0 : 1]?.write(line());
  await waitFor(async () => (await rotatedLogs(directories[0] as string)).length === 0, {
    what: 'the end of the older ones',
  });
  assert.ok((await rotatedLogs(directories[1] as string)).length > 3);
  // Their upkeep goes on, and the directory is removed before what was to be done after the test.
  await logs.closeAll();
});

test('no line is lost while files are rotated and compressed at the same time', async (t) => {
  const directory = join(await temporaryDirectory(t), 'logs');
  const faults: string[] = [];
  const logs = new AppLogs(
    async () => [directory],
    (what, error) => faults.push(`${what}: ${String(error)}`),
  );
  t.after(() => logs.closeAll());
  const log = logs.get({ ...policy, schedule: '0 0 1 1 *', keep: 10_000, size: 300, directory });
  for (let count = 0; count < 1500; count += 1)
    await log.report({ release: 1, process: 'web.0' }, String(count).padStart(99, '0'));
  await logs.closeAll();
  assert.deepEqual(faults, []);
  assert.deepEqual(
    (await appLog(directory)).map(({ text }) => Number(text)),
    Array.from({ length: 1500 }, (_, count) => count),
  );
});

test('a log has one writer, also when its size for rotations changes', async (t) => {
  const directory = join(await temporaryDirectory(t), 'logs');
  const logs = new AppLogs(
    async () => [directory],
    (what, error) => assert.fail(`${what}: ${String(error)}`),
  );
  t.after(() => logs.closeAll());
  const never = { ...policy, schedule: '0 0 1 1 *', keep: 100, directory };
  const log = logs.get({ ...never, size: 1024 ** 2 });
  const line = `${'x'.repeat(99)}\n`;
  for (let count = 0; count < 50; count += 1) await log.write(line);
  assert.equal((await rotatedLogs(directory)).length, 0);
  const smaller = logs.get({ ...never, size: 1000 });
  assert.equal(smaller, log);
  for (let count = 0; count < 50; count += 1) await log.write(line);
  await logs.close(directory);
  await log.write(line);
  assert.ok((await rotatedLogs(directory)).length > 3);
  // Here, and not only afterwards: then its directory would go first.
  await logs.closeAll();
});
