import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { doctor } from '../support/doctor.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { fetchOnce } from '../support/http.ts';
import { secondHome } from '../support/second-home.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const shop = { app: 'shop', environment: 'production' };
const blog = { app: 'blog', environment: 'staging' };

/** Starts a server with a pushed app, its data and a variable, and an uploaded app in another environment. */
async function busyInstall(t: TestContext): Promise<Sluice> {
  const sluice = await startSluice(t);
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('pushed one', { shared: ['data'] }));
  await checkout.git('push', sluice.gitUrl('shop'), 'main');
  await checkout.commit('Two', answering('pushed two', { shared: ['data'] }));
  await checkout.git('push', sluice.gitUrl('shop'), 'main');
  await sluice.call('PATCH', '/v1/apps/shop/env', { WORD: 'secret' });
  await sluice.deploy('blog', answering('uploaded'), 'staging');
  const { shared } = sluice.paths.environment(shop);
  await writeFile(join(shared, 'data/orders.txt'), 'three orders');
  await chmod(join(shared, 'data/orders.txt'), 0o640);
  await mkdir(join(shared, 'data/Größe'));
  await writeFile(join(shared, 'data/Größe', 'x'.repeat(200)), 'long');
  await symlink('/mnt/elsewhere', join(shared, 'data/link'));
  return sluice;
}

async function backup(t: TestContext, { home }: Sluice, ...flags: string[]): Promise<string> {
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  const { code, stderr } = await cli(['backup', file, ...flags], { env: { SLUICE_HOME: home } });
  assert.equal(code, 0, stderr);
  return file;
}

async function restore({ home }: Sluice, file: string, ...flags: string[]) {
  return cli(['restore', file, ...flags], { env: { SLUICE_HOME: home } });
}

test('a restore brings back apps, data, variables, repositories, tokens and ports', async (t) => {
  const from = await busyInstall(t);
  await writeJsonAtomic(join(from.home, 'domains.json'), {
    domains: [{ name: 'shop.example.com', app: 'shop' }],
  });
  await mkdir(join(from.home, 'edge/certificates'), { recursive: true });
  await writeFile(join(from.home, 'edge/certificates/shop.example.com.pem'), 'key', { mode: 0o600 });
  await writeJsonAtomic(join(from.home, 'edge/wanted.json'), { revision: 1, hosts: [] });
  const ports = [
    (await from.status('shop')).port,
    (await from.call<{ port: number }>('GET', '/v1/apps/blog?environment=staging')).port,
  ];
  const file = await backup(t, from);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  await from.end();

  const to = await secondHome(t, from);
  const { code, stdout, stderr } = await restore(to, file);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.match(stdout, /^blog@staging: restored with release 1$/m);
  assert.match(stdout, /^shop: restored; release 2 is built from its commit when Sluice starts$/m);
  await to.up();
  await waitFor(async () => (await to.status('shop')).state === 'running', { what: 'shop' });
  assert.equal(await to.get('shop'), 'pushed two');
  const staged = await waitFor(
    async () => {
      const status = await to.call<{ state: string; url: string; port: number }>(
        'GET',
        '/v1/apps/blog?environment=staging',
      );
      return status.state === 'running' && status;
    },
    { what: 'blog' },
  );
  assert.equal(await (await fetchOnce(staged.url)).text(), 'uploaded');
  assert.deepEqual([(await to.status('shop')).port, staged.port], ports);
  assert.deepEqual(await to.call('GET', '/v1/apps/shop/env'), { WORD: 'secret' });
  assert.equal((await to.request('/v1/apps')).status, 200, 'the token holds');
  const releases = await to.releases('shop');
  assert.deepEqual(releases.map(({ number, by }) => [number, by]).slice(1), [
    [2, 'test'],
    [1, 'test'],
  ]);
  assert.deepEqual([releases[0]?.number, releases[0]?.by, releases[0]?.state], [3, 'restore', 'live']);

  const data = join(to.paths.environment(shop).shared, 'data');
  assert.equal(await readFile(join(data, 'orders.txt'), 'utf8'), 'three orders');
  assert.equal((await stat(join(data, 'orders.txt'))).mode & 0o777, 0o640);
  assert.equal(await readFile(join(data, 'Größe', 'x'.repeat(200)), 'utf8'), 'long');
  assert.equal(await readlink(join(data, 'link')), '/mnt/elsewhere');
  assert.match(await readFile(to.paths.events, 'utf8'), /"action":"env"/);
  assert.match(await readFile(join(to.home, 'domains.json'), 'utf8'), /shop\.example\.com/);
  assert.equal(await readFile(join(to.home, 'edge/certificates/shop.example.com.pem'), 'utf8'), 'key');
  // It would look like the state of this machine's nginx.
  await assert.rejects(stat(join(to.home, 'edge/wanted.json')), { code: 'ENOENT' });
  const clone = await Checkout.create(t);
  assert.deepEqual(Object.keys(await remoteBranches(clone, to.gitUrl('shop'))), ['main']);
});

test('doctor reports an app that could not be built after a restore, with the deploy to make (thorough)', async (t) => {
  const from = await startSluice(t);
  const checkout = await Checkout.create(t);
  const needed = join(await temporaryDirectory(t), 'needed');
  await writeFile(needed, '');
  const manifest = JSON.stringify({
    name: 'shop',
    scripts: { build: `cat ${needed}`, start: 'node server.js' },
  });
  await checkout.commit('One', { ...answering('built'), 'package.json': manifest });
  await checkout.git('push', from.gitUrl('shop'), 'main');
  const file = await backup(t, from);
  await from.end();
  await rm(needed);
  const to = await secondHome(t, from);
  assert.equal((await restore(to, file)).code, 0);
  await to.up();
  const apps = async () => (await doctor(to.home)).checks['apps'];
  await waitFor(async () => (await to.releases('shop')).some(({ state }) => state === 'failed'), {
    what: 'the build that fails',
  });
  await waitFor(async () => (await apps())?.state === 'warning', { what: 'the warning' });
  const check = await apps();
  assert.equal(
    check?.message,
    'shop does not run: release 1 was restored from a backup and could not be built',
  );
  await writeFile(needed, '');
  const [, command = ''] = /Build it again: `sluice (.*)`\.$/m.exec(check.hint) ?? [];
  const { code, stderr } = await cli(command.split(' '), { env: { SLUICE_HOME: to.home } });
  assert.equal(code, 0, stderr);
  assert.equal(await to.get('shop'), 'built');
  assert.equal((await apps())?.state, 'ok');
});

test('with --releases nothing is built again, and a rollback works (thorough)', async (t) => {
  const from = await busyInstall(t);
  const file = await backup(t, from, '--releases');
  await from.end();
  const to = await secondHome(t, from);
  assert.equal((await restore(to, file)).code, 0);
  await to.up();
  await to.untilRunning('shop');
  assert.equal(await to.get('shop'), 'pushed two');
  assert.deepEqual(
    (await to.releases('shop')).map(({ number }) => number),
    [2, 1],
  );
  assert.equal((await to.rollback('shop')).number, 1);
  assert.equal(await to.get('shop'), 'pushed one');
  const { directory } = to.paths.environment(shop).release(1);
  assert.ok((await lstat(join(directory, 'data'))).isSymbolicLink());
});

test('a repository with pushes from shallow clones can be restored, built from and pushed to (thorough)', async (t) => {
  const from = await startSluice(t);
  const origin = await Checkout.create(t);
  const pushFromCi = async (word: string, to: Sluice) => {
    await origin.commit('Not in the clone');
    await origin.commit(word, answering(word));
    const job = await Checkout.create(t);
    await job.git('clone', '--quiet', '--depth=1', `file://${origin.directory}`, 'copy');
    await job.git('-C', 'copy', 'push', '--force', to.gitUrl('shop'), 'HEAD:refs/heads/main');
  };
  await pushFromCi('one', from);
  await pushFromCi('two', from);
  const file = await backup(t, from);
  await from.end();
  const to = await secondHome(t, from);
  const { code, stderr } = await restore(to, file);
  assert.equal(code, 0, stderr);
  await to.up();
  await to.untilRunning('shop');
  assert.equal(await to.get('shop'), 'two');
  await pushFromCi('three', to);
  assert.equal(await to.get('shop'), 'three');
});

test('a backup works without a server, and --no-shared leaves out shared data (thorough)', async (t) => {
  const from = await busyInstall(t);
  await from.end();
  const file = await backup(t, from, '--no-shared');
  const to = await secondHome(t, from);
  assert.equal((await restore(to, file)).code, 0);
  await assert.rejects(stat(to.paths.environment(shop).shared), { code: 'ENOENT' });
  await stat(to.paths.environment(blog).release(1).directory);
});

test('a backup can go through a pipe (thorough)', async (t) => {
  const from = await startSluice(t);
  await from.deploy('shop', answering('here'));
  const to = await secondHome(t, from);
  const pipe = `"$0" backup - | SLUICE_HOME=${to.home} "$0" restore -`;
  const { sluiceBinary } = await import('../support/cli.ts');
  const { code, stdout } = await cli(['-c', pipe, sluiceBinary], {
    binary: 'sh',
    env: { SLUICE_HOME: from.home },
  });
  assert.equal(code, 0);
  assert.match(stdout, /^shop: restored with release 1$/m);
});

test('a restore replaces an existing app only with --force (thorough)', async (t) => {
  const from = await startSluice(t);
  await from.deploy('shop', answering('old'));
  const file = await backup(t, from);
  await from.end();
  const to = await secondHome(t, from);
  await writeJsonAtomic(to.paths.settings, JSON.parse(await readFile(from.paths.settings, 'utf8')));
  const tokens = await readFile(from.paths.tokens);
  await writeFile(to.paths.tokens, tokens);
  await to.up();
  await to.deploy('shop', answering('newer'));

  const up = await restore(to, file);
  assert.equal(up.code, 1);
  assert.match(
    up.stderr,
    /^failed: Sluice runs with the state in .*needs Sluice and its apps to be stopped\n/,
  );
  await to.stop();
  const refused = await restore(to, file);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^failed: already here: shop\n.*--force/);
  await to.up();
  await to.untilRunning('shop');
  assert.equal(await to.get('shop'), 'newer');
  await to.stop();
  assert.equal((await restore(to, file, '--force')).code, 0);
  await to.up();
  await to.untilRunning('shop');
  assert.equal(await to.get('shop'), 'old');
});

test('a restore of an app whose port another app has is refused, and changes nothing (thorough)', async (t) => {
  const from = await startSluice(t);
  await from.deploy('shop', answering('old'));
  const { port } = await from.status('shop');
  const file = await backup(t, from);
  await from.end();
  const to = await secondHome(t, from);
  const { directory, state } = to.paths.environment({ app: 'other', environment: 'production' });
  await mkdir(directory, { recursive: true });
  await writeJsonAtomic(state, {
    port,
    desired: 'stopped',
    workers: null,
    createdAt: '2026-01-01T00:00:00.000Z',
  });
  const { code, stderr } = await restore(to, file);
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`^failed: port ${port} of shop belongs to other here\\n`));
  await assert.rejects(stat(to.paths.app('shop')), { code: 'ENOENT' });
});

test('a backup has apps that were restored and not built yet (thorough)', async (t) => {
  const from = await busyInstall(t);
  const file = await backup(t, from);
  await from.end();
  const second = await secondHome(t, from);
  assert.equal((await restore(second, file)).code, 0);
  const third = await secondHome(t, from);
  assert.equal((await restore(third, await backup(t, second))).code, 0);
  await third.up();
  await waitFor(async () => (await third.status('shop')).state === 'running', {
    what: 'shop',
  });
  assert.equal(await third.get('shop'), 'pushed two');
});
