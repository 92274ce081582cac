import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { list } from 'tar';
import { Paths } from '../../src/config/paths.ts';
import { answering, running } from '../support/apps.ts';
import { cli, sluiceBinary } from '../support/cli.ts';
import { Load } from '../support/load.ts';
import { apps } from '../support/runner.ts';
import { secondHome } from '../support/second-home.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { untilRemoved } from '../support/tree.ts';
import { waitFor } from '../support/wait.ts';

const shop = { app: 'shop', environment: 'production' };

/** Writes a file whose backup takes some seconds. */
async function writeLarge(path: string): Promise<void> {
  const part = randomBytes(16 * 1024 ** 2);
  for (let count = 0; count < 20; count += 1) await appendFile(path, part);
}

/** Makes backups, one after the other, during `work`. @returns their number */
async function backupsDuring(home: string, file: string, work: () => Promise<void>): Promise<number> {
  let over = false;
  let count = 0;
  const copying = (async () => {
    do {
      const { code, stderr } = await cli(['backup', file], { env: { SLUICE_HOME: home } });
      assert.equal(code, 0, stderr);
      count += 1;
    } while (!over);
  })();
  await work();
  over = true;
  await copying;
  return count;
}

test('a backup is made although systemd has the socket open for a server that cannot start', async (t) => {
  const sluice = await startSluice(t);
  await sluice.stop();
  const paths = new Paths(sluice.home);
  let asked = 0;
  const server = createServer((socket) => {
    asked += 1;
    socket.destroy();
  });
  t.after(() => server.close());
  await once(server.listen(paths.serverSocket), 'listening');
  const file = join(await temporaryDirectory(t), 'backup.tar');
  const { code, stderr } = await cli(['backup', file], { env: { SLUICE_HOME: sluice.home } });
  assert.equal(code, 0, stderr);
  assert.ok((await stat(file)).size > 0);
  assert.ok(asked >= 2, 'it looked for the server, and asked it');
});

/** Starts a hold of the API, as a backup does. */
async function hold(sluice: Sluice): Promise<{ release: () => void }> {
  const controller = new AbortController();
  const response = await sluice.request('/v1/hold', { method: 'POST', signal: controller.signal });
  assert.equal(response.status, 200);
  await response.body?.getReader().read();
  return { release: () => controller.abort() };
}

test('backups and deploys under load lose no request', async (t) => {
  const sluice = await startSluice(t);
  const files = async (count: number) => ({
    'server.js': await readFile(join(apps, 'plain.cjs'), 'utf8'),
    'count.txt': String(count),
    'sluice.json': { settleTime: 100, workers: 2, shared: ['data'], keepReleases: 2 },
  });
  await sluice.deploy('shop', await files(0));
  await writeFile(
    join(sluice.paths.environment(shop).shared, 'data/large'),
    Buffer.alloc(30_000_000, 'data'),
  );
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  const load = new Load((await sluice.status('shop')).port, 12);
  t.after(() => load.stop());
  const count = await backupsDuring(sluice.home, file, async () => {
    for (let deploy = 1; deploy <= 4; deploy += 1) await sluice.deploy('shop', await files(deploy));
  });
  const { samples, errors } = await load.stop();
  t.diagnostic(`${count} backups, ${samples.length} requests, ${errors.length} lost`);
  assert.deepEqual(errors, []);
  await sluice.end();
  const to = await secondHome(t, sluice);
  const { code, stderr } = await cli(['restore', file], { env: { SLUICE_HOME: to.home } });
  assert.equal(code, 0, stderr);
});

test('during a backup, a deploy goes live, and nothing is removed or moved (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('one', { keepReleases: 2 }));
  await sluice.deploy('shop', answering('two', { keepReleases: 2 }));
  const held = await hold(sluice);
  await assert.rejects(sluice.call('DELETE', '/v1/apps/shop?confirm=shop'), { code: 'backup_running' });
  await sluice.deploy('shop', answering('three', { keepReleases: 2 }));
  assert.equal(await sluice.get('shop'), 'three');
  const { releases } = sluice.paths.environment(shop);
  assert.ok((await readdir(join(releases, '1'))).includes('server.js'), 'release 1 is still whole');

  await writeFile(join(releases, '3/orders.db'), 'orders');
  let isLive = false;
  const moving = sluice
    .deploy('shop', answering('four', { shared: ['orders.db'], keepReleases: 2 }))
    .then(() => {
      isLive = true;
    });
  const log = async () => (await sluice.request('/v1/apps/shop/releases/4/log')).text();
  await waitFor(async () => (await log()).includes('waiting for a backup to end'), { what: 'the wait' });
  assert.equal(isLive, false);
  held.release();
  await moving;
  assert.equal(await readFile(join(sluice.paths.environment(shop).shared, 'orders.db'), 'utf8'), 'orders');
  // It has gone with the next deploy.
  await untilRemoved(join(releases, '1'));
});

test('a backup fails if the server stops, and leaves an earlier file unchanged (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('here', { shared: ['data'] }));
  await writeLarge(join(sluice.paths.environment(shop).shared, 'data/large'));
  const directory = await temporaryDirectory(t);
  const file = join(directory, 'backup.tar.gz');
  await writeFile(file, 'earlier');
  const child = spawn(sluiceBinary, ['backup', file], {
    env: { ...process.env, SLUICE_HOME: sluice.home },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk;
  });
  await waitFor(async () => (await sluice.log()).some(({ msg }) => msg === 'files frozen'), {
    what: 'the hold',
  });
  const closed = once(child, 'close');
  await sluice.stop();
  const [code] = await closed;
  assert.equal(code, 1);
  assert.match(errors, /Sluice ended while its state was being copied/);
  assert.equal(await readFile(file, 'utf8'), 'earlier');
  assert.deepEqual(await readdir(directory), ['backup.tar.gz']);
});

for (const mode of ['wal', 'delete']) {
  test(`a SQLite database with constant writes is consistent in the backup, with journal_mode ${mode}`, async (t) => {
    const sluice = await startSluice(t);
    await sluice.deploy('shop', writing(mode));
    await sluice.untilRunning('shop');
    const { shared } = sluice.paths.environment(shop);
    const source = join(shared, 'data/bank.db');
    const file = join(await temporaryDirectory(t), 'backup.tar.gz');
    const { code, stderr } = await cli(['backup', file], { env: { SLUICE_HOME: sluice.home } });
    assert.equal(code, 0);
    assert.doesNotMatch(stderr, /without SQLite/);
    assert.equal(await sluice.get('shop'), 'no error', 'the app was not held up');
    const names: string[] = [];
    await list({ file, onReadEntry: ({ path }) => void names.push(path) });
    const inData = names
      .filter((name) => name.includes('/shared/data/'))
      .map((name) => name.split('/').at(-1));
    assert.deepEqual(inData, ['', 'bank.db']);
    await stat(source);
    await sluice.end();
    const to = await secondHome(t, sluice);
    assert.equal((await cli(['restore', file], { env: { SLUICE_HOME: to.home } })).code, 0);
    const database = new DatabaseSync(join(to.paths.environment(shop).shared, 'data/bank.db'));
    const [check] = database.prepare('PRAGMA integrity_check').all();
    assert.deepEqual({ ...check }, { integrity_check: 'ok' });
    const [sum] = database.prepare('SELECT sum(amount) AS total, count(*) AS accounts FROM accounts').all();
    assert.deepEqual({ ...sum }, { total: 0, accounts: 2000 });
    database.close();
  });
}

test('a database that SQLite cannot read is copied without SQLite, with the message of SQLite (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('here', { shared: ['data'] }));
  const damaged = Buffer.alloc(8192, 'x');
  damaged.write('SQLite format 3\0');
  damaged[18] = 1;
  await writeFile(join(sluice.paths.environment(shop).shared, 'data/bank.db'), damaged);
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  const { code, stderr } = await cli(['backup', file], { env: { SLUICE_HOME: sluice.home } });
  assert.equal(code, 0, stderr);
  assert.match(stderr, /copied without SQLite \(file is not a database\); stop.*data\/bank\.db/);
});

/** Returns an app that moves money between accounts all the time: the sum is always 0. */
function writing(mode: string) {
  return running(
    `
    const { DatabaseSync } = require('node:sqlite');
    const db = new DatabaseSync('data/bank.db', { timeout: 5000 });
    db.exec("PRAGMA journal_mode = ${mode}; PRAGMA synchronous = off; CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, amount INTEGER, padding TEXT)");
    const insert = db.prepare('INSERT OR IGNORE INTO accounts VALUES (?, 0, ?)');
    db.exec('BEGIN');
    for (let id = 0; id < 2000; id += 1) insert.run(id, 'x'.repeat(2000));
    db.exec('COMMIT');
    const move = db.prepare('UPDATE accounts SET amount = amount + ? WHERE id = ?');
    let error = 'no error';
    setInterval(() => {
      const [from, to, amount] = [Math.random() * 1000 | 0, 1000 + (Math.random() * 1000 | 0), Math.random() * 100 | 0];
      try {
        db.exec('BEGIN IMMEDIATE');
        move.run(-amount, from);
        move.run(amount, to);
        db.exec('COMMIT');
      } catch (thrown) { error = thrown.message; }
    }, 2);
    require('node:http').createServer((request, response) => response.end(error)).listen(process.env.PORT);
    `,
    { shared: ['data'] },
  );
}

test('a full disk is reported, and nothing remains of the backup (thorough)', async (t) => {
  const isolate = ['--user', '--map-root-user', '--mount'];
  if (spawnSync('unshare', [...isolate, 'true']).status !== 0)
    return t.skip('this machine lets us mount nothing');
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('here', { shared: ['data'] }));
  await writeFile(join(sluice.paths.environment(shop).shared, 'data/large'), randomBytes(3_000_000));
  await sluice.stop();
  const disk = join(await temporaryDirectory(t), 'disk');
  await mkdir(disk);
  const full =
    'mount -t tmpfs -o size=1m none "$1"; "$2" backup "$1/backup.tar.gz"; echo "status $?"; ls -A "$1"';
  const args = [...isolate, 'sh', '-c', full, 'sh', disk, sluiceBinary];
  const { stdout, stderr } = await cli(args, { binary: 'unshare', env: { SLUICE_HOME: sluice.home } });
  assert.equal(stdout, 'status 1\n');
  assert.match(stderr, /^failed: the disk is full\n/);

  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  assert.equal((await cli(['backup', file], { env: { SLUICE_HOME: sluice.home } })).code, 0);
  const small =
    'mount -t tmpfs -o size=2m,mode=700 none "$1"; echo "{\\"minFreeBytes\\": 0}" > "$1/config.json"; "$2" restore "$3"; echo "status $?"; ls -A "$1"';
  const restored = await cli([...isolate, 'sh', '-c', small, 'sh', disk, sluiceBinary, file], {
    binary: 'unshare',
    env: { SLUICE_HOME: disk },
  });
  assert.equal(restored.stdout, 'status 1\nconfig.json\nrun\n');
  assert.match(restored.stderr, /disk is full|disk was full|no space/i);
});

test('Ctrl-C ends a backup or a restore, and nothing remains of it (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('here', { shared: ['data'] }));
  const large = join(sluice.paths.environment(shop).shared, 'data/large');
  await writeLarge(large);
  const directory = await temporaryDirectory(t);
  const file = join(directory, 'backup.tar.gz');
  const interrupted = async (args: string[], home: string, isAtWork: () => Promise<boolean>) => {
    let working: Promise<unknown> | undefined;
    const outcome = await cli(args, {
      env: { SLUICE_HOME: home },
      whileRunning(child) {
        working = waitFor(isAtWork, { what: 'work' }).then(() => child.kill('SIGINT'));
      },
    });
    await working;
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /^failed: interrupted; all incomplete results are removed\n$/);
  };
  const bytesIn = async (name: string, parent: string) => (await stat(join(parent, name))).size;
  await interrupted(['backup', file], sluice.home, async () => {
    const [name] = await readdir(directory);
    return name !== undefined && (await bytesIn(name, directory)) > 100_000;
  });
  assert.deepEqual(await readdir(directory), []);

  assert.equal((await cli(['backup', file], { env: { SLUICE_HOME: sluice.home } })).code, 0);
  const to = await secondHome(t, sluice);
  await interrupted(['restore', file], to.home, async () => {
    const staging = (await readdir(to.home)).find((name) => name.startsWith('.tmp-'));
    if (staging === undefined) return false;
    const names = await readdir(join(to.home, staging), { recursive: true });
    return names.some((name) => name.endsWith('data/large'));
  });
  assert.deepEqual(await readdir(to.home), ['run']);
});
