import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const run = (...args: string[]) => cli(args, { env: { SLUICE_HOME: sluice.home } });

const fine = { 'fine.sh': 'sleep 600' };

test('a background process that ends at once does not reject a deploy, a rollback or a change of variables, which end with a note', async () => {
  const processes = { fine: 'sh fine.sh', worker: 'sh worker.sh' };
  const release = await sluice.deploy('shop', {
    ...answering('shop', { settleTime: '3s', processes }),
    ...fine,
    'worker.sh': 'echo "no queue" >&2; exit 3',
  });
  assert.equal(release.state, 'live');
  const found = release.notices.filter(({ code }) => code === 'process_fails');
  assert.equal(found.length, 1);
  assert.match(
    found[0]?.message ?? '',
    /^the release is live, but a background process fails: worker\.0 ended with exit status 3 after .*, and Sluice starts it again$/,
  );
  assert.equal(found[0]?.hint, 'Read its output: `sluice logs shop --worker worker`');
  const log = await (await sluice.request('/v1/apps/shop/releases/1/log')).text();
  assert.match(log, /note: the release is live, but a background process fails.*\n(.*\n)*live: /);
  const list = await waitFor(async () => {
    const { stdout } = await run('list');
    return stdout.includes('worker') && stdout;
  });
  assert.match(list, /\nshop +running, worker\.0 (fails|crashed) +1 +1 /);
  assert.match(
    (await run('describe', 'shop')).stdout,
    /worker\.0 ended with exit status 3.*\n {2}\| no queue\n/,
  );

  const note =
    /\nnote: the release is live, but a background process fails: worker\.0 .*\n {3}Read its output: .*\n/;
  const back = await run('rollback', 'shop', '1');
  assert.match(back.stdout, note, 'a rollback');
  assert.match(back.stdout, /\nlive: .*\n$/);
  assert.match((await run('env', 'set', 'shop', 'QUEUE=none')).stdout, note, 'a change of variables');
});

test('processes that run or have ended as they should leave no note and no mark', async () => {
  const processes = { fine: 'sh fine.sh', once: { command: 'sh once.sh', autorestart: false } };
  const release = await sluice.deploy('calm', {
    ...answering('calm', { processes }),
    ...{ ...fine, 'once.sh': 'exit 0' },
  });
  assert.deepEqual(release.notices, []);
  const { stdout } = await waitFor(async () => {
    const { background } = await sluice.status('calm');
    return background.some(({ state }) => state === 'stopped') && run('list');
  });
  assert.match(stdout, /\ncalm +running +1 +1 /);
  const set = await run('env', 'set', 'calm', 'QUEUE=none');
  assert.equal(set.stdout, 'QUEUE set\ncalm now runs with the new variables.\n');
});

test('one background process is restarted by its own rules, and nothing else is touched', async () => {
  const mail = { command: 'node mail.js', count: 2, stopSignal: 'SIGUSR2', killTimeout: '60s' };
  await sluice.deploy('post', {
    ...answering('post', { processes: { mail, fine: 'sh fine.sh' } }),
    ...fine,
    'mail.js': `
      process.on('SIGUSR2', () => { console.log('stopped by SIGUSR2'); process.exit(); });
      console.log('works');
      setInterval(() => undefined, 1000);
    `,
  });
  const pids = async () => {
    const { workers, background } = await sluice.status('post');
    const ofProcesses = background.map(({ name, instance, pid }) => [`${name}.${instance}`, pid]);
    return Object.fromEntries([...workers.map(({ pid }) => ['web', pid]), ...ofProcesses]);
  };
  const logLines = async () => (await sluice.request('/v1/apps/post/logs')).text();
  // A signal to a process that has not set its handler would end it.
  const working = (count: number) =>
    waitFor(async () => (await logLines()).split('works').length === count + 1, { what: `${count} starts` });
  await working(2);
  const before = await pids();
  const { code, stdout } = await run('restart', 'post', '--worker', 'mail.1');
  assert.equal(code, 0);
  assert.match(stdout, /\nmail\.1 +\d+ +running +1 /);
  const after = await pids();
  assert.notEqual(after['mail.1'], before['mail.1']);
  assert.deepEqual({ ...after, 'mail.1': 0 }, { ...before, 'mail.1': 0 });
  await waitFor(async () => (await logLines()).includes('stopped by SIGUSR2'), { what: 'the stop signal' });
  await working(3);
  await sluice.call('POST', '/v1/apps/post/restart?worker=mail');
  const both = await pids();
  for (const name of ['mail.0', 'mail.1']) assert.notEqual(both[name], after[name]);
  assert.deepEqual([both['web'], both['fine.0']], [before['web'], before['fine.0']]);
  const events = await readFile(sluice.paths.events, 'utf8');
  assert.match(events, /"action":"restart",.*"process":"mail\.1"/);
  const failed = await run('restart', 'post', '--worker', 'mial');
  assert.match(
    failed.stderr,
    /post has no background process mial\n {2}Background processes of post: mail, fine\./,
  );
});

test('scale keeps the background processes, and prints the status without the workers of before', async () => {
  const background = async () => (await sluice.status('post')).background.map(({ pid }) => pid);
  const before = await background();
  const { stdout } = await run('scale', 'post', '2');
  assert.match(stdout, /^post is running since /);
  assert.equal(stdout.match(/ open /g)?.length, 2);
  assert.doesNotMatch(stdout, /retired|drained|stopping/);
  assert.deepEqual(await background(), before);
  await sluice.call('PATCH', '/v1/apps/post/env?restart=false', { CHANGED: 'yes' });
  await run('scale', 'post', '1');
  await waitFor(async () => (await background()).every((pid) => pid !== null && !before.includes(pid)), {
    what: 'processes with the new variable',
  });
});

test('a restart of the app answers when its background processes run again', async () => {
  const before = (await sluice.status('post')).background.map(({ pid }) => pid);
  const { stdout } = await run('restart', 'post');
  for (const name of ['mail.0', 'mail.1', 'fine.0'])
    assert.match(stdout, new RegExp(`\\n${name.replace('.', '\\.')} +\\d+ +running `));
  assert.doesNotMatch(stdout, /stopping|retired|drained/);
  const after = (await sluice.status('post')).background.map(({ pid }) => pid);
  assert.ok(after.every((pid) => !before.includes(pid)));
});

test('a command with the name of a background process names its app', async () => {
  const hints: [string[], RegExp][] = [
    [['logs', 'mail'], /mail is a background process of post: sluice logs post --worker mail\n/],
    [['reload', 'mail'], /: sluice restart post --worker mail\n/],
    [['stop', 'mail'], /mail is a background process of post: it stops with the app, .*sluice status post\n/],
    [['describe', 'mail'], /: sluice status post\n/],
    [['delete', 'mail', '--confirm', 'mail'], /: sluice status post\n/],
  ];
  for (const [args, hint] of hints) {
    const { code, stderr } = await run(...args);
    assert.equal(code, 1);
    assert.match(stderr, /app mail not found\n/);
    assert.match(stderr, hint);
  }
  assert.match((await run('logs', 'mail@staging')).stderr, /List apps/);
  assert.match((await run('logs', 'other')).stderr, /List apps/);
});
