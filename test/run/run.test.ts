import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { isAlive, processStartTime } from '../../src/system/process/processes.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { RunningCli, sluiceRun, untilNoneRuns } from '../support/run.ts';
import { startSluice } from '../support/server.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const env = { SLUICE_HOME: sluice.home };
await cli(['env', 'set', 'shop', 'SECRET=correct-horse-battery', "QUOTED=it's-a-sunny-day"], { env });
await sluice.deploy('shop', answering('one'));

/** Arguments after `sluice run shop`, and the outcome. */
const outcomes: [args: string[], status: number, stdout: RegExp, stderr: RegExp][] = [
  [['exit 3'], 3, /^$/, /^$/],
  [['echo out; echo err >&2'], 0, /^out\n$/, /^err\n$/],
  [
    ['echo $SECRET $NODE_ENV $SLUICE_RELEASE $SLUICE_APP'],
    0,
    /^correct-horse-battery production 1 shop\n$/,
    /^$/,
  ],
  [['pwd'], 0, /\/apps\/shop\/production\/releases\/1\n$/, /^$/],
  [['--', 'node', '-p', 'process.argv.slice(1).join("|")', 'a b', '--all'], 0, /^a b\|--all\n$/, /^$/],
  [['node', '-p', 'process.version'], 0, /^v\d+\.\d+\.\d+\n$/, /^$/],
  [['--', 'no-such-program', 'x'], 127, /^$/, /no-such-program.*not found/],
  [['no-such-program'], 127, /^$/, /no-such-program.*not found/],
  [['--', '/etc/passwd', 'x'], 126, /^$/, /[Pp]ermission denied/],
  [['kill -KILL $$'], 137, /^$/, /^$/],
  [
    ['--', 'node', '-e', 'process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000)'],
    143,
    /^$/,
    /^$/,
  ],
  [['echo x >/dev/stdout; echo y >/dev/stderr'], 0, /^x\n$/, /^y\n$/],
];

for (const [index, [args, status, stdout, stderr]] of outcomes.entries()) {
  test(`sluice run shop ${args.join(' ')}: exit status ${status}${thorough(index > 3)}`, async (t) => {
    const run = sluiceRun(t, sluice, ...args);
    run.end();
    assert.equal(await run.ended, status, run.stderr);
    assert.match(run.stdout, stdout);
    assert.match(run.stderr, stderr);
  });
}

test('input reaches the command, also by the name /dev/stdin, and ends', async (t) => {
  const text = 'x'.repeat(1_000_000);
  const run = sluiceRun(t, sluice, 'cat /dev/stdin | wc -c');
  run.end(text);
  assert.equal(await run.ended, 0, run.stderr);
  assert.equal(run.stdout.trim(), '1000000');
});

test('output arrives while the command waits for input', async (t) => {
  const run = sluiceRun(t, sluice, 'echo ready; read -r answer; echo "got $answer"');
  await run.until(/ready\n/);
  assert.ok(!run.stdout.includes('got'));
  run.write('this\n');
  await run.until(/got this\n/);
  assert.equal(await run.ended, 0);
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  test(`${signal} of sluice reaches the processes of the command${thorough(signal !== 'SIGINT')}`, async (t) => {
    // The shell handles the signal only when its child has ended, so both must get it.
    const trap = `trap 'echo own ${signal}; exit 9' ${signal.slice(3)}`;
    const run = sluiceRun(t, sluice, `${trap}; sh -c 'echo one; exec sleep 1000'; echo two`);
    await run.until(/one\n/);
    run.child.kill(signal);
    assert.equal(await run.ended, 9, run.stderr);
    assert.equal(run.stdout, `one\nown ${signal}\n`);
  });
}

test('a command without a live release, or of an unknown app, fails with status 125', async (t) => {
  await cli(['env', 'set', 'empty', 'A=1'], { env });
  for (const [app, message] of [
    ['empty', /no live release/],
    ['unknown', /app unknown not found/],
  ] as const) {
    const run = new RunningCli(t, ['run', app, 'true'], env);
    run.end();
    assert.equal(await run.ended, 125);
    assert.match(run.stderr, message);
  }
});

test('a caller needs the scope run, which deploy does not include', async (t) => {
  const token = async (name: string, scopes: string[], app: string | null = null) =>
    (await sluice.call<{ token: string }>('POST', '/v1/tokens', { name, scopes, app })).token;
  for (const [scopes, app, status] of [
    [['deploy'], null, 125],
    [['admin'], 'shop', 125],
    [['run'], 'other', 125],
    [['run'], 'shop', 7],
    [['deploy', 'run'], null, 7],
    [['admin'], null, 7],
  ] as const) {
    const name = `${scopes.join('-')}-${app}`;
    const address = { SLUICE_URL: sluice.url, SLUICE_TOKEN: await token(name, [...scopes], app) };
    const run = new RunningCli(t, ['run', 'shop', 'exit 7'], address);
    run.end();
    assert.equal(await run.ended, status, `${name}: ${run.stderr}`);
    if (status === 125)
      assert.match(run.stderr, app === 'other' ? /for the app other only/ : /needs scope run/);
  }
});

/** Command that starts a process, and one in a session of its own, and prints their pids. */
const leaving =
  'sleep 1000 & echo $!; setsid sh -c "echo \\$\\$; exec sleep 1000" & sleep 0.2; echo ready; wait';

async function pidsOf(run: RunningCli): Promise<number[]> {
  await run.until(/ready\n/);
  const pids = run.stdout
    .split('\n')
    .filter((line) => /^\d+$/.test(line))
    .map(Number);
  assert.equal(pids.length, 2, run.stdout);
  assert.ok(pids.every((pid) => isAlive(pid)));
  return pids;
}

async function gone(pids: number[]): Promise<void> {
  await waitFor(() => pids.every((pid) => processStartTime(pid) === undefined), {
    what: 'the end of all processes',
  });
}

test('no process is left when the client is killed', async (t) => {
  const run = sluiceRun(t, sluice, leaving);
  const pids = await pidsOf(run);
  run.child.kill('SIGKILL');
  await gone(pids);
  await untilNoneRuns(sluice);
});

test('a command that ignores SIGHUP and SIGTERM is killed when its client is gone (thorough)', async (t) => {
  const run = sluiceRun(t, sluice, `trap '' HUP TERM; ${leaving}`);
  const pids = await pidsOf(run);
  run.child.kill('SIGKILL');
  await gone(pids);
});

test('no process is left when the server is killed', async (t) => {
  const run = sluiceRun(t, sluice, leaving);
  const pids = await pidsOf(run);
  await sluice.kill();
  await gone(pids);
  assert.equal(await run.ended, 125);
  assert.match(run.stderr, /connection to the server was lost/);
  await sluice.up();
  await sluice.untilRunning('shop');
});

test('a command survives a deploy and a rollback, and the directory of its release stays', async (t) => {
  await sluice.deploy('kept', answering('one', { keepReleases: 2 }));
  const run = new RunningCli(
    t,
    ['run', 'kept', 'echo ready; read -r _; cat server.js | wc -c; echo $SLUICE_RELEASE'],
    env,
  );
  await run.until(/ready\n/);
  for (const text of ['two', 'three', 'four', 'five'])
    await sluice.deploy('kept', answering(text, { keepReleases: 2 }));
  const states = (await sluice.releases('kept')).map(({ number, state }) => `${number} ${state}`);
  assert.deepEqual(states, ['5 live', '4 retained', '3 removed', '2 removed', '1 retained']);
  await sluice.rollback('kept');
  run.write('\n');
  assert.equal(await run.ended, 0, run.stderr);
  assert.match(run.stdout, /^ready\n\d+\n1\n$/);
  await sluice.deploy('kept', answering('six', { keepReleases: 2 }));
  const later = await sluice.releases('kept');
  assert.equal(later.find(({ number }) => number === 1)?.state, 'removed');
});

test('a stop of the app does not end its command, and a stopped app runs commands; a removal ends them', async (t) => {
  await sluice.deploy('gone', answering('one'));
  const run = new RunningCli(t, ['run', 'gone', 'echo ready; exec sleep 1000'], env);
  await run.until(/ready\n/);
  await sluice.call('POST', '/v1/apps/gone/stop');
  const other = new RunningCli(t, ['run', 'gone', 'echo here'], env);
  other.end();
  assert.equal(await other.ended, 0, other.stderr);
  assert.equal((await sluice.status('gone')).oneOffs.length, 1);
  await sluice.call('DELETE', '/v1/apps/gone?confirm=gone');
  assert.equal(await run.ended, 129, run.stderr);
});

test('a detached command outlives its client, prints into the log, masked, and ends by --stop', async () => {
  const { stdout } = await cli(
    ['run', 'shop', '--detach', '--json', 'echo "detached $SECRET"; exec sleep 1000'],
    { env },
  );
  const { id } = JSON.parse(stdout) as { id: string };
  const log = async () => (await cli(['logs', 'shop', '--worker', `run.${id}`], { env })).stdout;
  await waitFor(async () => / {2}detached /.test(await log()), { what: 'the output in the log' });
  assert.doesNotMatch(await log(), /correct-horse/);
  const { stdout: status } = await cli(['status', 'shop'], { env });
  assert.match(status, new RegExp(`${id} +1 +local +detached .*sleep 1000`));
  await sluice.kill();
  await sluice.up();
  assert.deepEqual(
    (await sluice.status('shop')).oneOffs.map((each) => each.id),
    [id],
  );
  assert.equal((await cli(['run', 'shop', '--stop', id], { env })).code, 0);
  assert.deepEqual((await sluice.status('shop')).oneOffs, []);
  assert.match(await log(), /was ended by SIGHUP|was ended by SIGTERM/);
  const again = await cli(['run', 'shop', '--stop', id], { env });
  assert.equal(again.code, 1);
  assert.match(again.stderr, /no running one-off command/);
});

test('the history and the logs have the caller, the command without secrets, the status and the duration', async (t) => {
  const run = sluiceRun(t, sluice, 'test correct-horse-battery = x');
  run.end();
  assert.equal(await run.ended, 1);
  const events = (await readFile(sluice.paths.events, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const [started, ended] = events.slice(-2);
  assert.equal(started.outcome, 'started');
  const { at, durationMs, command, ...rest } = ended;
  assert.ok(Date.parse(at) > 0 && durationMs >= 0);
  assert.match(command, /^test \S+ = x$/);
  assert.deepEqual(rest, {
    ...{ app: 'shop', environment: 'production', action: 'run', by: 'local', release: 1 },
    ...{ outcome: 'failed', status: 1 },
  });
  const { stdout } = await cli(['logs', 'shop', '-n', '1000'], { env });
  assert.match(stdout, /local runs: test /);
  assert.match(stdout, /ended with exit status 1 after/);
  for (const text of [
    stdout,
    await readFile(sluice.paths.events, 'utf8'),
    await readFile(sluice.paths.log, 'utf8'),
  ])
    assert.doesNotMatch(text, /correct-horse-battery/);
});

test('if the client is lost, the history gets the end of the command when all its processes have ended', async (t) => {
  const ends = async () => {
    const events = (await readFile(sluice.paths.events, 'utf8')).trim().split('\n');
    return events.map((line) => JSON.parse(line)).filter(({ outcome }) => outcome !== 'started');
  };
  const before = (await ends()).length;
  const run = sluiceRun(t, sluice, 'trap "" HUP TERM; echo $$; exec sleep 1000');
  await run.until(/\n/);
  run.child.kill('SIGKILL');
  const [end] = await waitFor(async () => {
    const added = (await ends()).slice(before);
    return added.length > 0 && added;
  });
  assert.equal(processStartTime(Number(run.stdout)), undefined);
  assert.deepEqual([end.outcome, end.code], ['failed', 'cancelled']);
  const { stdout } = await cli(['logs', 'shop', '-n', '1000'], { env });
  assert.match(stdout, /the client hung up, so Sluice ended the command; it was ended by SIGKILL/);
});

test('a secret with a quote in the arguments of a command is masked in the history and the logs', async (t) => {
  const run = sluiceRun(t, sluice, '--', 'test', 'x', '=', "it's-a-sunny-day");
  run.end();
  assert.equal(await run.ended, 1);
  const { stdout } = await cli(['logs', 'shop', '-n', '1000'], { env });
  assert.match(stdout, /local runs: test x '=' '•+'/);
  for (const text of [stdout, await readFile(sluice.paths.events, 'utf8')])
    assert.doesNotMatch(text, /sunny-day/);
});

test('wrong usage of sluice run has exit status 2', async (t) => {
  for (const args of [
    ['run', 'shop'],
    ['run', 'shop', '--stop', 'abc', 'x'],
    ['run', 'shop', '--json', 'x'],
    ['run'],
  ]) {
    const run = new RunningCli(t, args, env);
    assert.equal(await run.ended, 2, args.join(' '));
  }
});
