import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { cli, sluiceBinary } from '../support/cli.ts';
import { LogWriter } from '../support/log-writer.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
await sluice.call('PATCH', '/v1/apps/shop/env', { SECRET: 'open-sesame' });
const log = new LogWriter(join(sluice.paths.apps, 'shop/production/logs'));
// Not later than now, whenever this is run.
const today = new Date(new Date().setHours(0, 0, 0, 0));
const yesterday = new Date(new Date(today).setDate(today.getDate() - 1));
log.line('old', { time: yesterday });
log.line('started', { time: today, stream: 'sys' });
log.line('\u001b[31mred\u001b[0m \u001b[2J\u001b]0;title\u0007bell\u0007', { time: today });
log.line('10%\r20%\r', { time: today, process: 'worker.12', stream: 'err', release: 2 });

const env = { SLUICE_HOME: sluice.home, TZ: process.env['TZ'] ?? '' };
const run = (...args: string[]) => cli(['logs', 'shop', ...args], { env });

test('each line has its time and process, and each new day has a heading', async () => {
  const { code, stdout } = await run();
  assert.equal(code, 0);
  const day = (date: Date) =>
    `-- ${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, '0')}-${String(date.getDate()).padStart(2, '0')} --`;
  assert.deepEqual(stdout.split('\n'), [
    day(yesterday),
    '00:00:00 web.0   old',
    day(today),
    '00:00:00 web.0   * started',
    '00:00:00 web.0   red bell\\x07',
    '00:00:00 worker.12  20%',
    '',
  ]);
});

test('colours of the app are shown, and no other control sequences', async () => {
  const { stdout } = await cli(['logs', 'shop', '-n', '3'], { env: { ...env, FORCE_COLOR: '1' } });
  assert.ok(stdout.includes('\u001b[31mred\u001b[0m bell\\x07\u001b[0m\n'), JSON.stringify(stdout));
  assert.ok(stdout.includes('\u001b[36m* started'));
  assert.ok(!stdout.includes('\u001b[2J') && !stdout.includes('\u0007'));
});

test('`--raw` prints the output of the app byte for byte, and `--json` the lines of the server (thorough)', async () => {
  const { stdout } = await run('--raw', '-n', '2');
  assert.equal(stdout, '\u001b[31mred\u001b[0m \u001b[2J\u001b]0;title\u0007bell\u0007\n10%\r20%\r\n');
  const [first] = (await run('--json', '--stream', 'sys')).stdout.split('\n');
  assert.deepEqual(JSON.parse(first ?? ''), {
    time: today.toISOString(),
    release: 1,
    process: 'web.0',
    stream: 'sys',
    line: 'started',
  });
});

test('lines are filtered, and an invalid filter is rejected (thorough)', async () => {
  assert.equal((await run('--raw', '--release', '2')).stdout, '10%\r20%\r\n');
  assert.equal((await run('--raw', '--worker', 'worker')).stdout, '10%\r20%\r\n');
  assert.match((await run('--raw', '--stream', 'out', '-n', '1', '--worker', '0')).stdout, /bell/);
  const local = `${yesterday.getFullYear()}-${String(yesterday.getMonth() + 1).padStart(2, '0')}-${String(yesterday.getDate()).padStart(2, '0')} 00:00`;
  assert.match((await run('--raw', '--since', local, '-n', '9')).stdout, /^old\n/);
  for (const wrong of [
    ['--since', 'soon'],
    ['--stream', 'stdout'],
    ['--lines', 'x'],
    ['--release', '0'],
    ['--raw', '--json'],
    ['--raw', '--stream', 'sys'],
    ['--build', '1', '-f'],
    ['--build', '1', '--json'],
    ['--build', 'x'],
  ]) {
    assert.equal((await run(...wrong)).code, 2, wrong.join(' '));
  }
  const missing = await run('--build', '7');
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /release 7/);
});

test('the command ends quietly if its reader ends', async () => {
  const child = spawn('bash', ['-c', `${sluiceBinary} logs shop -f | head -n 1`], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const ended = once(child, 'exit');
  await waitFor(() => {
    log.line('more');
    return child.exitCode !== null;
  });
  await ended;
  assert.equal(errors, '');
});

test('a followed log continues after a restart of the server, and no line is lost or repeated', async () => {
  let heard = '';
  let number = 0;
  const say = () => {
    log.lines([`count ${number}`, `count ${number + 1}`], { time: new Date() });
    number += 2;
  };
  say();
  const args = ['--follow', '--raw', '-n', '2'];
  const following = cli(['logs', 'shop', ...args], {
    env,
    whileRunning: (child) => {
      child.stdout?.on('data', (chunk) => {
        heard += chunk;
      });
      wholeFile.after(() => child.kill('SIGKILL'));
      (async () => {
        await waitFor(() => heard.includes('count 1\n'), { what: 'the first lines' });
        for (const end of [() => sluice.kill(), () => sluice.stop()]) {
          say();
          const before = number;
          await waitFor(() => heard.includes(`count ${before - 1}\n`));
          await end();
          say();
          if (log.rotate() > 0) log.compressAll();
          say();
          await sluice.up();
          const after = number;
          await waitFor(() => heard.includes(`count ${after - 1}\n`), { what: 'lines after the restart' });
        }
      })().finally(() => child.kill());
    },
  });
  const { stderr } = await following;
  const counts = heard.split('\n').filter((line) => line.startsWith('count'));
  assert.deepEqual(
    counts,
    Array.from({ length: number }, (_, index) => `count ${index}`),
  );
  assert.match(stderr, /the connection is lost; trying again …\n/);
});
