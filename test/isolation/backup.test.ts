import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { lstat, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { Checkout } from '../support/git.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import type { Files } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const files: Files = {
  'sluice.json': { shared: ['data'], settleTime: 100, workers: 1 },
  'server.js': `
    const fs = require('node:fs');
    fs.appendFileSync('data/starts', 'x');
    const database = new (require('node:sqlite').DatabaseSync)('data/notes.db');
    database.exec('PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS notes (text)');
    globalThis.held = database;
    require('node:http').createServer((_, response) => response.end(fs.readFileSync('data/starts'))).listen(process.env.PORT);`,
};

const restore = ({ sluice }: { sluice: { home: string } }, file: string) =>
  cli(['restore', file], { env: { SLUICE_HOME: sluice.home } });

/** @param pushed true for an app that was pushed by git */
async function backup(t: TestContext, pushed?: string): Promise<string> {
  const { sluice } = await Isolated.start(t);
  await sluice.deploy('shop', files);
  if (pushed !== undefined) {
    const checkout = await Checkout.create(t);
    await checkout.commit('One', answering('pushed'));
    await checkout.git('push', sluice.gitUrl(pushed), 'main');
  }
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  const { code, stderr } = await cli(['backup', file], { env: { SLUICE_HOME: sluice.home } });
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /without SQLite/, 'SQLite copies a database, as the app’s user');
  const { temporary } = sluice.paths.environment({ app: 'shop', environment: 'production' });
  for (const directory of [sluice.home, temporary])
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.startsWith('.tmp-')),
      [],
    );
  for (const { name } of await sluice.call<{ name: string }[]>('GET', '/v1/apps'))
    await sluice.call('POST', `/v1/apps/${name}/stop`);
  return file;
}

test('restored apps belong to the users of this machine, and run as them', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const file = await backup(t, 'blog');
  const isolated = await Isolated.start(t, async (sluice) => {
    const { code, stderr } = await restore({ sluice }, file);
    assert.equal(code, 0, stderr);
    // Each test server makes a token of that name for itself.
    await rm(sluice.paths.tokens);
  });
  const { sluice, owner } = isolated;
  await sluice.untilRunning('shop');
  assert.equal(await sluice.get('shop'), 'xx');
  await sluice.untilRunning('blog');
  assert.equal(await sluice.get('blog'), 'pushed');
  const { uid } = await idsOf(`${owner}_shop`);
  const shop = sluice.paths.environment({ app: 'shop', environment: 'production' });
  assert.equal((await lstat(join(shop.shared, 'data/starts'))).uid, uid);
  assert.equal((await lstat(shop.state)).uid, isolated.uid);
  await assertRecordsAreSafe(isolated);
});

test('a restore continues in the directory where root has begun it, whatever the server does to the path (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const file = await backup(t);
  const elsewhere = await mkdtemp(join(tmpdir(), 'sluice-test-root-'));
  t.after(() => rm(elsewhere, { recursive: true, force: true }));
  const isolated = await Isolated.start(t, async (sluice, asServer) => {
    const pipe = join(await temporaryDirectory(t), 'pipe');
    await promisify(execFile)('mkfifo', [pipe]);
    const restoring = restore({ sluice }, pipe);
    const into = await open(pipe, 'w');
    const content = await readFile(file);
    await into.write(content, 0, 20);
    const places = async () => (await readdir(sluice.home)).filter((name) => name.startsWith('.tmp-'));
    const [place = ''] = await waitFor(
      async () => {
        const found = await places();
        return found.length > 0 && found;
      },
      { what: 'the place that it unpacks in' },
    );
    await asServer('mv "$1" "$1-moved"; ln -s "$2" "$1"', join(sluice.home, place), elsewhere);
    await into.write(content, 20);
    await into.close();
    const { code, stderr } = await restoring;
    assert.equal(code, 0, stderr);
    assert.deepEqual(await readdir(elsewhere), []);
    assert.deepEqual(await places(), [`${place}-moved`]);
    await rm(sluice.paths.tokens);
  });
  await isolated.sluice.untilRunning('shop');
  assert.equal(await isolated.sluice.get('shop'), 'xx');
});

test('leftovers of a killed restore do not keep the server from starting, and the next restore removes them (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const file = await backup(t);
  const { stdout } = await promisify(execFile)('sh', ['-c', 'echo $$']);
  const left = `.tmp-${stdout.trim()}-0123456789ab`;
  const isolated = await Isolated.start(t, async ({ home }) => {
    await mkdir(join(home, left), { mode: 0o700 });
    await writeFile(join(home, left, 'tokens.json'), '');
  });
  await isolated.sluice.stop();
  await waitFor(() => isolated.runner.exitCode !== null, { what: 'the end of the runner' });
  assert.ok((await readdir(isolated.sluice.home)).includes(left));
  const { code, stderr } = await restore(isolated, file);
  assert.equal(code, 0, stderr);
  assert.ok(!(await readdir(isolated.sluice.home)).includes(left));
});

test('apps restored from a home without users get users, and our records stay ours (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const local = await startSluice(t);
  await local.deploy('shop', files);
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  assert.equal((await cli(['backup', file], { env: { SLUICE_HOME: local.home } })).code, 0);
  await local.end();
  const isolated = await Isolated.start(t, async (sluice) => {
    const { code, stderr } = await restore({ sluice }, file);
    assert.equal(code, 0, stderr);
    await rm(sluice.paths.tokens);
  });
  await isolated.sluice.untilRunning('shop');
  assert.equal(await isolated.sluice.get('shop'), 'xx');
  await assertRecordsAreSafe(isolated);
});

/** Checks that the app cannot rename the records in a release: it could put another release.json there. */
async function assertRecordsAreSafe({ sluice, owner, uid }: Isolated): Promise<void> {
  const { directory } = sluice.paths.environment({ app: 'shop', environment: 'production' }).release(1);
  const root = await lstat(directory);
  const { gid } = await idsOf(`${owner}_shop`);
  assert.deepEqual([root.uid, root.gid, root.mode & 0o7777], [uid, gid, 0o1770]);
  const records = await lstat(join(directory, '.sluice'));
  assert.deepEqual([records.uid, records.mode & 0o7777], [uid, 0o700]);
}

test('an app is not restored to a user of its name that Sluice has not made (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const file = await backup(t);
  const isolated = await Isolated.start(t);
  await isolated.sluice.stop();
  isolated.runner.kill('SIGTERM');
  await promisify(execFile)('useradd', ['--system', '--user-group', `${isolated.owner}_shop`]);
  const { code, stderr } = await restore(isolated, file);
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`the system user ${isolated.owner}_shop does not belong to shop in `));
  await assert.rejects(lstat(isolated.sluice.paths.app('shop')), { code: 'ENOENT' });
});
