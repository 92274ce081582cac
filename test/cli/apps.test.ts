import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AppStatus } from '../../src/apps/status.ts';
import { answering, running } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const run = (...args: string[]) => cli(args, { env: { SLUICE_HOME: sluice.home } });
const json = async (...args: string[]) => JSON.parse((await run(...args, '--json')).stdout);

await sluice.deploy('shop', answering('shop'));

test('status shows server, runner and apps, as text and as JSON', async () => {
  const all = await json('status');
  assert.equal(all.server.pid, sluice.pid);
  assert.equal(typeof all.runner.pid, 'number');
  const [app] = all.apps;
  assert.deepEqual([app.name, app.environment, app.state, app.release], ['shop', 'production', 'running', 1]);
  assert.deepEqual(
    app.workers.map(({ state }: { state: string }) => state),
    ['open'],
  );
  assert.deepEqual((await json('status', 'shop')).url, app.url);
  assert.deepEqual((await json('apps')).length, 1);
  const { stdout } = await run('status');
  assert.match(stdout, /^Sluice \d.+\n\nAPP +STATE +RELEASE +WORKERS +URL\nshop +running +1 +1 +http:/);
  assert.ok(!stdout.includes('\u001b'), 'no colours without a terminal');
});

test('status reports within seconds a runner that does not answer, with a hint', async () => {
  const { runner } = await json('status');
  process.kill(runner.pid, 'SIGSTOP');
  try {
    const { code, stderr } = await run('status');
    assert.equal(code, 1);
    assert.match(stderr, /has not answered for 5 s\n.*`kill -9 \d+`/);
  } finally {
    process.kill(runner.pid, 'SIGCONT');
  }
});

test('status shows which worker is missing and why, and which background process has crashed (thorough)', async () => {
  const server = `
    const { existsSync } = require('node:fs');
    if (process.env.NODE_APP_INSTANCE === '1' && existsSync(process.env.DOOM)) throw new Error('doomed');
    require('node:http').createServer((q, r) => r.end('ok')).listen(process.env.PORT);
  `;
  const doom = join(sluice.home, 'doom');
  await run('env', 'set', 'flaky', `DOOM=${doom}`);
  await sluice.deploy('flaky', {
    'server.js': server,
    'bad.js': 'console.error("no queue"); process.exit(4);',
    'sluice.json': {
      workers: 2,
      settleTime: 100,
      maxRestarts: 2,
      restartDelay: 10,
      processes: { mail: 'node bad.js' },
    },
  });
  await writeFile(doom, '');
  const victim = (await sluice.status('flaky')).workers.find(({ instance }) => instance === 1);
  process.kill(victim?.pid ?? 0, 'SIGKILL');
  const { stdout } = await waitFor(async () => {
    const answer = await run('status', 'flaky');
    return answer.stdout.includes('| Error: doomed') && answer.stdout.includes('mail.0 crashed') && answer;
  });
  assert.match(stdout, /^flaky is running, mail\.0 crashed since/);
  assert.match(stdout, /: worker 1 ended with exit status 1 before it listened\n/);
  assert.match(stdout, /: mail\.0 ended with exit status 4 after .*\n {2}\| no queue\n/);
  assert.match((await run('status')).stdout, /\nflaky +running, mail\.0 crashed +1 +1\/2 +http/);
  await run('destroy', 'flaky', '--confirm', 'flaky');
});

test('an app is scaled, restarted, stopped and started (thorough)', async () => {
  const scaled: AppStatus = await json('scale', 'shop', '2');
  assert.equal(scaled.workers.filter(({ state }) => state === 'open').length, 2);
  const before = (await sluice.status('shop')).workers.map(({ pid }) => pid);
  assert.equal((await run('restart', 'shop')).code, 0);
  const after = (await sluice.status('shop')).workers.filter(({ state }) => state === 'open');
  assert.ok(after.every(({ pid }) => !before.includes(pid)));
  assert.match((await run('stop', 'shop')).stdout, /^shop is stopped/);
  assert.match((await run('start', 'shop')).stdout, /^shop is running/);
  assert.equal(await sluice.get('shop'), 'shop');
  assert.equal((await run('scale', 'shop', 'default')).code, 0);
});

test('variables are set, listed and removed, and the app sees them (thorough)', async () => {
  const code = `require('node:http').createServer((request, response) => response.end(String(process.env.WORD)))
    .listen(process.env.PORT);`;
  await sluice.deploy('wordy', running(code));
  const set = await run('env', 'set', 'wordy', 'WORD=a=b c', 'OTHER=1');
  assert.equal(set.stdout, 'WORD set\nOTHER set\nwordy now runs with the new variables.\n');
  assert.equal(await sluice.get('wordy'), 'a=b c');
  assert.equal((await run('env', 'list', 'wordy', '--show')).stdout, "WORD='a=b c'\nOTHER=1\n");
  assert.deepEqual(await json('env', 'unset', 'wordy', 'WORD', '--no-restart'), {
    changed: ['WORD'],
    rebuild: [],
    notices: [],
    outcome: 'kept',
  });
  assert.deepEqual(await sluice.call('GET', '/v1/apps/wordy/env'), { OTHER: '1' });
  assert.equal(await sluice.get('wordy'), 'a=b c');
  const wrong = await run('env', 'set', 'wordy', 'A=1', 'tr0ub4dor');
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /argument 2 after the app has no NAME=/);
  assert.doesNotMatch(wrong.stderr, /tr0ub4dor/);
});

test('a change of variables prints its effect, and one that changes nothing does not switch (thorough)', async () => {
  await sluice.deploy('calm', answering('calm'));
  await run('env', 'set', 'calm', 'A=1');
  // Workers of the generation before may still drain.
  const open = async () =>
    (await sluice.status('calm')).workers.filter(({ state }) => state === 'open').map(({ pid }) => pid);
  const before = await open();
  assert.equal(
    (await run('env', 'unset', 'calm', 'NOPE')).stdout,
    'NOPE was not set\nNothing has changed, and calm was not switched.\n',
  );
  assert.match((await run('env', 'set', 'calm', 'A=1')).stdout, /^A is unchanged\nNothing has changed/);
  assert.deepEqual(await open(), before);
  await run('stop', 'calm');
  assert.match(
    (await run('env', 'set', 'calm', 'A=2')).stdout,
    /^A set\ncalm does not run: the change applies from/,
  );
  const kept = await run('env', 'set', 'calm', 'A=3', '--no-restart');
  assert.equal(kept.stdout, 'A set\nThe change applies from the next start, restart or deploy of calm.\n');
});

test('variables are set from a file such as .env, and arguments take precedence (thorough)', async (t) => {
  const file = join(await temporaryDirectory(t), '.env');
  await writeFile(file, '# for the shop\nexport A="with space"\nB=from the file\n');
  assert.equal((await run('env', 'set', 'filed', 'B=named', '--file', file)).code, 0);
  assert.deepEqual(await sluice.call('GET', '/v1/apps/filed/env'), { A: 'with space', B: 'named' });
  assert.match(
    (await run('env', 'set', 'filed', '--file', `${file}.not`)).stderr,
    /--file cannot be read: ENOENT/,
  );
  assert.equal((await run('env', 'set', 'filed')).code, 2);
});

test('variables that need a build, and values that end at a #, have a note', async (t) => {
  const file = join(await temporaryDirectory(t), '.env');
  await writeFile(file, 'NEXT_PUBLIC_API=https://x.example/#/api\n');
  const set = await run('env', 'set', 'shop', '--file', file, '--no-restart');
  assert.match(set.stderr, /note: the value of NEXT_PUBLIC_API in .* ends at "#"\n.*quotes around the value/);
  assert.match(
    set.stdout,
    /NEXT_PUBLIC_API set\n(?:.*\n)note: the live release was built with other values of NEXT_PUBLIC_API: the change/,
  );
});

test('variables of a new app apply to its first deploy', async () => {
  const set = await run('env', 'set', 'nosuch', 'A=1');
  assert.equal(set.stdout, 'A set\nnosuch is new: its first deploy will have these variables.\n');
  const unset = await run('env', 'unset', 'misspelt', 'A');
  assert.match(unset.stderr, /^failed: app misspelt not found\n/);
  assert.equal((await run('status', 'misspelt')).code, 1);
});

test('logs shows the output of an app', async () => {
  await sluice.deploy(
    'chatty',
    running(`console.log('one'); console.log('two');
    require('node:http').createServer((q, r) => r.end()).listen(process.env.PORT);`),
  );
  // A release may be live before its output is logged.
  await waitFor(async () => (await run('logs', 'chatty', '--raw', '-n', '1')).stdout === 'two\n', {
    what: 'the last line',
  });
  const printed = (await run('logs', 'chatty', '--json', '--stream', 'out')).stdout.trim().split('\n');
  assert.deepEqual(
    printed.map((line) => JSON.parse(line).line),
    ['one', 'two'],
  );
});

test('destroy needs the name again, from the terminal or from --confirm (thorough)', async () => {
  await sluice.deploy('brief', answering('brief'));
  assert.equal((await run('destroy', 'brief')).code, 2);
  assert.equal((await run('destroy', 'brief', '--confirm', 'shop')).code, 2);
  assert.equal((await run('destroy', 'brief', '--confirm', 'brief')).code, 0);
  assert.equal((await run('status', 'brief')).code, 1);
});

test('tokens are listed without their secret, and revoked', async () => {
  const made = await json('token', 'create', 'ci', '--scope', 'read');
  assert.match(made.token, /^slc_/);
  const { stdout } = await run('token', 'list');
  assert.match(stdout, /\nci +read +all /);
  assert.ok(!stdout.includes(made.token));
  assert.equal((await run('token', 'revoke', 'ci')).code, 0);
  assert.equal((await run('token', 'revoke', 'ci')).code, 1);
});

test('node list shows the Node.js of Sluice and its releases, and node update keeps it', async () => {
  const [own, ...others] = await json('node', 'list');
  const { version, uses } = own;
  assert.equal(version, process.versions.node);
  assert.deepEqual(
    uses.filter(({ app, live }: { app: string; live: boolean }) => app === 'shop' && live).length,
    1,
  );
  assert.ok(others.every((other: { own: boolean }) => !other.own));
  const { stdout } = await run('node', 'list');
  assert.match(stdout, /^VERSION +NEWEST +SIZE +RELEASES\n\S+ \(Sluice\) +\S+ +\d+ MiB +.*shop 1 \(live\)/);
  const { code, stdout: text } = await run('node', 'update', 'shop');
  assert.deepEqual([code, text], [0, `shop keeps Node.js ${version}\n`]);
  assert.deepEqual(await json('node', 'update', 'shop'), [
    { app: 'shop', environment: 'production', from: version, to: version, outcome: 'unchanged' },
  ]);
  const unknown = await run('node', 'update', 'nothing');
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /nothing was not updated: app nothing not found\n {2}List apps/);
});
