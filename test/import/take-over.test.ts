import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { TakeoverRecord } from '../../src/import/records.ts';
import { tryLock } from '../../src/system/fs/lock.ts';
import { cli } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const program = fileURLToPath(new URL('../support/fake-pm2.cjs', import.meta.url));
const sluice = await startSluice(wholeFile);

/** Starts a PM2 that has an app on a port. @param traits `stubborn` to not stop the app; `fork` for the mode of the app; `name=` and its name */
async function startPm2(t: TestContext, ...traits: string[]) {
  const directory = await temporaryDirectory(t);
  const home = await mkdtemp(join(directory, 'pm2-'));
  await writeFile(join(directory, 'package.json'), '{"engines":{"node":">=18"}}');
  await writeFile(
    join(directory, 'server.js'),
    "require('node:http').createServer((request, response) => response.end('sluice')).listen(process.env.PORT);",
  );
  const port = await freePort();
  const env = { PATH: `${home}:${process.env['PATH']}`, PM2_HOME: home };
  const args = [program, home, directory, String(port), ...traits];
  const argv0 = `PM2 v7.0.4: God Daemon (${home})`;
  const daemon = spawn(process.execPath, args, { argv0, env, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => daemon.kill('SIGKILL'));
  await once(daemon.stdout, 'data');
  const callIn = (config: Record<string, string>, ...options: string[]) =>
    cli(['import', 'pm2', ...options], { env: { SLUICE_HOME: sluice.home, PM2_HOME: home, ...config } });
  const callWith = (nginxConfig: string, ...options: string[]) =>
    callIn({ XDG_CONFIG_HOME: home }, '--nginx-config', nginxConfig, ...options);
  const record = join(home, 'sluice/import/shop.json');
  return {
    ...{ port, callIn, callWith, call: callWith.bind(undefined, '/nonexistent') },
    answer: async () => (await fetchText(port)).body,
    fail: (...faults: string[]) => writeFile(join(home, 'faults'), faults.join(' ')),
    calls: async () => (await readFile(join(home, 'calls'), 'utf8')).trim().split('\n'),
    hasRecord: () => existsSync(record),
    record: async () => JSON.parse(await readFile(record, 'utf8')) as TakeoverRecord,
    writeRecord: async (value: TakeoverRecord) => writeFile(record, JSON.stringify(value)),
  };
}

/** Starts nginx with a site that passes requests on to a port. */
async function startNginx(t: TestContext, port: number) {
  const machine = await machineWithNginx(t);
  const site = join(machine.directory, 'conf.d/shop.conf');
  const before = `server {\n  listen ${machine.http};\n  server_name shop.example.com;\n  location / { proxy_pass http://127.0.0.1:${port}; }\n}\n`;
  await writeFile(site, before);
  await machine.nginx();
  const answer = async () => {
    const { status, body } = await fetchText(machine.http, '/', { headers: { host: 'shop.example.com' } });
    return status === 200 ? body : String(status);
  };
  return { machine, site, before, config: machine.mainConfig, answer };
}

const removeShop = () => sluice.call('DELETE', '/v1/apps/shop?confirm=shop');

/** Asserts the exit status of a command. */
function assertCode({ code, stdout, stderr }: Awaited<ReturnType<typeof cli>>, expected = 0): void {
  assert.equal(code, expected, stdout + stderr);
}

test('an app takes the port of PM2, and gives the port back', async (t) => {
  const { call, answer, port } = await startPm2(t);
  t.after(() => sluice.call('DELETE', '/v1/apps/shop?confirm=shop'));
  assert.equal(await answer(), 'pm2');
  const created = await call();
  assert.equal(created.code, 0, created.stdout + created.stderr);
  assert.match(
    created.stdout,
    /PM2 still serves the app\. To take over its traffic: sluice import pm2 --app shop --apply/,
  );
  assert.equal(await answer(), 'pm2');
  assert.equal(await sluice.get('shop'), 'sluice');

  const taken = await call('--apply');
  assert.equal(taken.code, 0, taken.stdout + taken.stderr);
  assert.match(taken.stdout, new RegExp(`shop has port ${port}: connections were refused for \\d+ ms`));
  assert.match(taken.stdout, /PM2 has stopped shop/);
  assert.match(taken.stdout, /--undo shop \(connections are refused until PM2 has started the app, /);
  assert.equal(await answer(), 'sluice');
  assert.equal((await sluice.status('shop')).port, port);

  const shown = await call('--undo', 'shop', '--dry-run');
  assertCode(shown);
  assert.match(
    shown.stdout,
    new RegExp(
      `^Sluice closes port ${port} before PM2 starts shop: connections are refused until .+\\nPM2 runs shop again, and Sluice stops shop\\n$`,
    ),
  );
  assert.equal(await answer(), 'sluice');

  const undone = await call('--undo', 'shop');
  assert.equal(undone.code, 0, undone.stdout + undone.stderr);
  assert.match(
    undone.stdout,
    new RegExp(`PM2 has port ${port} again: connections were refused for \\d.*\nshop is stopped in Sluice`),
  );
  assert.equal(await answer(), 'pm2');
  assert.equal((await sluice.status('shop')).state, 'stopped');
  const retaken = await call('--apply');
  assert.equal(retaken.code, 0, retaken.stdout + retaken.stderr);
  assert.equal(await answer(), 'sluice');
  assert.equal((await call('--undo', 'shop')).code, 0);
  const again = await call('--undo', 'shop');
  assert.equal(again.code, 1);
  assert.match(again.stderr, /shop has returned to PM2 already, at 20.+\n {2}Nothing has changed\./);
  assert.equal(await answer(), 'pm2');
  const never = await call('--undo', 'blog');
  assert.equal(never.code, 1);
  assert.match(never.stderr, /there is no record of a takeover of blog/);
});

test('--undo knows an app by its name in PM2, and its record is in HOME', async (t) => {
  const { callIn, answer } = await startPm2(t, 'name=My_Front');
  const home = await temporaryDirectory(t);
  t.after(() => sluice.call('DELETE', '/v1/apps/my-front?confirm=my-front'));
  const noNginx = ['--nginx-config', '/nonexistent'];
  assertCode(await callIn({ HOME: home }, '--apply', ...noNginx));
  assert.deepEqual(await readdir(join(home, '.config/sluice/import')), ['my-front.json']);
  const undone = await callIn({ HOME: home }, '--undo', 'My_Front', '--json', ...noNginx);
  assertCode(undone);
  assert.deepEqual(JSON.parse(undone.stdout), { app: 'my-front', undone: true });
  assert.equal(await answer(), 'pm2');
});

test('two takeovers never run at once', async (t) => {
  const { callIn, answer } = await startPm2(t);
  const config = await temporaryDirectory(t);
  await mkdir(join(config, 'sluice'));
  const noNginx = ['--nginx-config', '/nonexistent'];
  using lock = tryLock(join(config, 'sluice/import.lock'));
  assert.ok(lock);
  for (const options of [['--apply'], ['--undo', 'shop']]) {
    const refused = await callIn({ XDG_CONFIG_HOME: config }, ...options, ...noNginx);
    assertCode(refused, 1);
    assert.match(refused.stderr, /another `sluice import pm2` with --apply or --undo runs/);
  }
  assert.equal(await answer(), 'pm2');
  assertCode(await callIn({ XDG_CONFIG_HOME: config }, '--dry-run', ...noNginx));
});

test('if PM2 does not give up its port, PM2 keeps serving the app', async (t) => {
  const { call, answer, port, hasRecord } = await startPm2(t, 'stubborn');
  t.after(() => sluice.call('DELETE', '/v1/apps/shop?confirm=shop'));
  const { code, stdout, stderr } = await call('--apply');
  assert.equal(code, 1, stdout);
  assert.match(
    stderr,
    new RegExp(`shop did not get port ${port}: another program kept port ${port} on :: for 10 s`),
  );
  assert.match(stderr, /PM2 serves the app again/);
  assert.equal(hasRecord(), false);
  assert.equal(await answer(), 'pm2');
  assert.notEqual((await sluice.status('shop')).port, port);
  assert.equal(await sluice.get('shop'), 'sluice');
});

test('after a failed stop in PM2, a second --apply only finishes the takeover behind nginx', async (t) => {
  const { port, callWith, answer, fail, record } = await startPm2(t);
  t.after(removeShop);
  const nginx = await startNginx(t, port);
  await fail('stop');
  const first = await callWith(nginx.config, '--apply');
  assertCode(first, 1);
  assert.match(first.stderr, /pm2 stop 0 failed/);
  assert.deepEqual([await nginx.answer(), await answer()], ['sluice', 'pm2']);
  const former = await record();

  // As if the first command had ended before the reload.
  await writeFile(nginx.site, nginx.before);
  await nginx.machine.nginx('-s', 'reload');
  await waitFor(async () => (await nginx.answer()) === 'pm2', { what: 'the former configuration' });
  await writeFile(nginx.site, former.files[0]?.after ?? '');
  await fail();
  const second = await callWith(nginx.config, '--apply');
  assertCode(second);
  assert.match(second.stdout, /PM2 has stopped shop/);
  assert.equal(await nginx.answer(), 'sluice');
  await assert.rejects(answer());
  assert.deepEqual(await record(), former);
  assert.notEqual((await sluice.status('shop')).port, port);

  assertCode(await callWith(nginx.config, '--undo', 'shop'));
  assert.equal(await nginx.answer(), 'pm2');
  assert.equal(await readFile(nginx.site, 'utf8'), nginx.before);
});

test('a takeover of an app in fork mode may be repeated, and returned then', async (t) => {
  const { port, callWith, record } = await startPm2(t, 'fork');
  t.after(removeShop);
  const nginx = await startNginx(t, port);
  assertCode(await callWith(nginx.config, '--apply'));
  const former = await record();
  assertCode(await callWith(nginx.config, '--app', 'shop', '--apply'));
  assert.equal(await nginx.answer(), 'sluice');
  assert.deepEqual(await record(), former);
  assertCode(await callWith(nginx.config, '--undo', 'shop'));
  assert.equal(await nginx.answer(), 'pm2');
});

test('after a takeover that was interrupted before its change, --apply refuses, and --undo returns', async (t) => {
  const { port, callWith, answer, fail, calls, record } = await startPm2(t);
  t.after(removeShop);
  const nginx = await startNginx(t, port);
  await fail('stop');
  assertCode(await callWith(nginx.config, '--apply'), 1);
  await fail();
  const former = await record();
  await writeFile(nginx.site, nginx.before);
  await nginx.machine.nginx('-s', 'reload');
  await waitFor(async () => (await nginx.answer()) === 'pm2', { what: 'the former configuration' });
  const refused = await callWith(nginx.config, '--apply');
  assertCode(refused, 1);
  assert.match(refused.stderr, /Return the app to PM2 first: sluice import pm2 --undo shop/);
  assert.deepEqual(await record(), former);
  assert.deepEqual([await nginx.answer(), await answer()], ['pm2', 'pm2']);
  assertCode(await callWith(nginx.config, '--undo', 'shop'));
  assert.deepEqual([await nginx.answer(), await answer()], ['pm2', 'pm2']);
  // A start would restart what runs.
  assert.ok(!(await calls()).some((line) => line.startsWith('start')));
  assert.equal((await sluice.status('shop')).state, 'stopped');
});

test('PM2 keeps running an app if nginx would send it requests after the takeover', async (t) => {
  const { port, callWith, answer, hasRecord } = await startPm2(t);
  t.after(removeShop);
  const nginx = await startNginx(t, port);
  const api = join(nginx.machine.directory, 'conf.d/api.conf');
  const text = (of: number) =>
    `server {\n  listen ${nginx.machine.http};\n  server_name api.example.com;\n  set $port ${of};\n  location / { proxy_pass http://127.0.0.1:$port; }\n}\n`;
  const load = async (of: number) => {
    await writeFile(api, text(of));
    await nginx.machine.nginx('-s', 'reload');
  };
  await load(port);
  const created = await callWith(nginx.config);
  assertCode(created);
  assert.ok(created.stdout.includes(`--apply needs a change by hand first: ${api}:4: set $port ${port};`));
  const refused = await callWith(nginx.config, '--apply');
  assertCode(refused, 1);
  const own = (await sluice.status('shop')).port;
  assert.ok(refused.stderr.includes(`cannot move: ${api}:4: set $port ${port};`), refused.stderr);
  assert.match(
    refused.stderr,
    new RegExp(`PM2 still serves the app\\. In these lines, write port ${own}, on which Sluice serves`),
  );
  assert.deepEqual([await nginx.answer(), await answer(), hasRecord()], ['pm2', 'pm2', false]);
  assert.equal(await readFile(nginx.site, 'utf8'), nginx.before);

  await load(own);
  assertCode(await callWith(nginx.config, '--apply'));
  assert.equal(await nginx.answer(), 'sluice');
  // A line that came later: a second command must not stop PM2 either.
  await load(port);
  const late = await callWith(nginx.config, '--apply', '--app', 'shop');
  assertCode(late, 1);
  assert.ok(late.stderr.includes(`cannot move: ${api}:4: set $port ${port};`), late.stderr);

  // On the way back, Sluice is not stopped before the requests have moved either.
  await load(own);
  const kept = await callWith(nginx.config, '--undo', 'shop');
  assertCode(kept, 1);
  assert.ok(
    kept.stderr.includes(`nginx still sends requests to shop in Sluice: ${api}:4: set $port ${own};`),
    kept.stderr,
  );
  assert.match(kept.stderr, new RegExp(`In these lines, write port ${port}, on which PM2`));
  assert.deepEqual([await nginx.answer(), await sluice.get('shop')], ['pm2', 'sluice']);
  await load(port);
  assertCode(await callWith(nginx.config, '--undo', 'shop'));
  assert.deepEqual([await nginx.answer(), (await sluice.status('shop')).state], ['pm2', 'stopped']);
});

test('if nginx refuses its new files, no record remains', async (t) => {
  const { port, callWith, hasRecord } = await startPm2(t);
  t.after(removeShop);
  const nginx = await startNginx(t, port);
  assertCode(await callWith(nginx.config));
  // nginx -T, which shows the files, accepts a pid file that no reload can find.
  await writeFile(
    nginx.config,
    (await readFile(nginx.config, 'utf8')).replace(/^pid .*/m, `pid ${nginx.machine.directory}/other.pid;`),
  );
  const { code, stderr } = await callWith(nginx.config, '--apply');
  assert.equal(code, 1, stderr);
  assert.match(stderr, /nginx -s reload failed/);
  assert.equal(await readFile(nginx.site, 'utf8'), nginx.before);
  assert.equal(hasRecord(), false);
  assert.equal(await nginx.answer(), 'pm2');
});

test('a second --apply on a port finishes, and never replaces the record', async (t) => {
  const { port, call, answer, fail, record, writeRecord } = await startPm2(t);
  t.after(removeShop);
  assertCode(await call('--apply'));
  const former = await record();
  assert.equal(former.host, '::');
  assertCode(await call('--app', 'shop', '--apply'));
  assert.equal(await answer(), 'sluice');
  assert.deepEqual(await record(), former);
  await writeRecord({ ...former, home: '/elsewhere' });
  const other = await call('--app', 'shop', '--apply');
  assertCode(other, 1);
  assert.match(other.stderr, /the takeover was from another PM2: \/elsewhere/);

  // Another process of the app is no app of its own.
  await writeRecord({ ...former, names: ['shop', 'blog'] });
  await fail('renumbered');
  const { stdout } = await call('--app', 'blog', '--dry-run', '--json');
  const { apps, leftOut } = JSON.parse(stdout);
  assert.deepEqual(apps, []);
  assert.match(leftOut.at(-1).reason, /^is a process of shop in Sluice: finish its takeover with --app shop/);
  await fail();
  await writeRecord(former);
  assertCode(await call('--undo', 'shop'));
  assert.equal(await answer(), 'pm2');
  assert.notEqual((await sluice.status('shop')).port, port);
});

test('if PM2 cannot start an app again, Sluice keeps serving it on the port', async (t) => {
  const { port, call, answer, fail, hasRecord, calls } = await startPm2(t);
  t.after(removeShop);
  assertCode(await call('--apply'));
  await fail('forgotten');
  const forgotten = await call('--undo', 'shop');
  assertCode(forgotten, 1);
  assert.match(forgotten.stderr, /PM2 no longer has shop/);
  assert.equal(await answer(), 'sluice');

  await fail('start');
  const failed = await call('--undo', 'shop');
  assertCode(failed, 1);
  assert.match(failed.stderr, /PM2 did not start shop: pm2 start 0 failed/);
  assert.match(failed.stderr, /shop is in Sluice as before/);
  assert.equal(await answer(), 'sluice');
  assert.equal((await sluice.status('shop')).port, port);
  assert.equal(hasRecord(), true);

  // The id of the record is that of another app now.
  await fail('renumbered');
  assertCode(await call('--undo', 'shop'));
  assert.equal(await answer(), 'pm2');
  assert.deepEqual(
    (await calls()).filter((line) => line.startsWith('start')),
    ['start 0', 'start 1'],
  );
});

test('after --delete there is no record, since --undo cannot return the app', async (t) => {
  const { call, answer, hasRecord } = await startPm2(t);
  t.after(removeShop);
  const deleted = await call('--apply', '--delete');
  assertCode(deleted);
  assert.match(deleted.stdout, /PM2 has deleted shop\nshop cannot return to PM2 with --undo/);
  assert.equal(await answer(), 'sluice');
  assert.equal(hasRecord(), false);
});
