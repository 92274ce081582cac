import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { lstat, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { AppError } from '../../src/errors/app-error.ts';
import { cli } from '../support/cli.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import type { Files } from '../support/pack.ts';
import { untilRemoved } from '../support/tree.ts';
import { waitFor } from '../support/wait.ts';

const server = `
const fs = require('node:fs');
fs.appendFileSync('data/visits', 'started\\n');
console.log('hello from', process.getuid());
fs.writeFileSync('/dev/stdout', 'by its name\\n');
require('node:http').createServer((request, response) => {
  const { HOME, USER, LOGNAME, SHELL, TMPDIR } = process.env;
  response.end(JSON.stringify({
    pid: process.pid, uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), cwd: process.cwd(),
    env: { HOME, USER, LOGNAME, SHELL, TMPDIR }, built: fs.readFileSync('dist/built', 'utf8'),
    visits: fs.readFileSync('data/visits', 'utf8'), temporary: require('node:os').tmpdir(),
  }));
}).listen(process.env.PORT);
`;

/** App that needs the registry only for the package manager itself. */
function app(changes: Files = {}): Files {
  return {
    'package.json': { name: 'shop', private: true, scripts: { build: 'node build.js' } },
    'sluice.json': { shared: ['data'], settleTime: 100, keepReleases: 2, workers: 2 },
    'build.js': `
      const fs = require('node:fs');
      require('node:child_process').spawn('setsid', ['sleep', '1000'], { detached: true, stdio: 'ignore' }).unref();
      fs.mkdirSync('dist/closed/deep', { recursive: true });
      fs.writeFileSync('dist/built', String(process.getuid()) + ' ' + process.env.HOME);
      fs.writeFileSync('dist/closed/deep/file', '');
      fs.chmodSync('dist/closed/deep', 0o500);
      fs.chmodSync('dist/closed', 0);`,
    'server.js': server,
    ...changes,
  };
}

test('an app is built and run as its user, from its first deploy to its removal', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice, owner } = isolated;
  const { paths } = sluice;
  const user = `${owner}_shop`;
  const target = paths.environment({ app: 'shop', environment: 'production' });

  await sluice.deploy('shop', app());
  const ids = await idsOf(user);
  const said = JSON.parse(await sluice.get('shop'));
  assert.deepEqual({ uid: said.uid, gid: said.gid, groups: said.groups }, { ...ids, groups: [ids.gid] });
  assert.deepEqual(said.env, {
    HOME: target.home,
    USER: user,
    LOGNAME: user,
    SHELL: '/bin/sh',
    TMPDIR: target.temporary,
  });
  assert.equal(said.temporary, target.temporary);
  assert.equal(said.built, `${ids.uid} ${target.home}`);
  assert.match(said.visits, /^started\n/);

  const who = async (path: string) => {
    const { uid, gid, mode } = await lstat(path);
    const names = new Map([
      [0, 'root'],
      [isolated.uid, 'server'],
      [ids.uid, 'app'],
    ]);
    const groups = new Map([
      [0, 'root'],
      [isolated.gid, 'server'],
      [ids.gid, 'app'],
    ]);
    return `${names.get(uid)}:${groups.get(gid)} ${(mode & 0o7777).toString(8)}`;
  };
  const { directory, state, logs, releases, staging, shared, home, temporary } = target;
  const release = target.release(1);
  assert.deepEqual(
    Object.fromEntries(
      await Promise.all(
        Object.entries({
          directory,
          state,
          logs,
          releases,
          staging,
          shared,
          home,
          temporary,
          release: release.directory,
          records: release.records,
          code: join(release.directory, 'server.js'),
          run: paths.run,
          apps: paths.apps,
          ofApp: paths.app('shop'),
          tools: paths.tools,
          tokens: paths.tokens,
          events: paths.events,
          log: paths.log,
          generation: target.generation,
          runner: paths.runnerSocket,
          server: paths.serverSocket,
          orphans: paths.orphanSocket,
          processes: paths.processes,
          outputs: paths.outputs,
        }).map(async ([name, path]) => [name, await who(path)]),
      ),
    ),
    {
      directory: 'server:app 750',
      state: 'server:server 600',
      logs: 'root:server 2750',
      releases: 'server:app 750',
      staging: 'server:app 750',
      shared: 'app:app 755',
      home: 'app:app 700',
      temporary: 'app:app 700',
      release: 'server:app 1770',
      records: 'server:server 700',
      code: 'app:app 644',
      apps: 'server:server 711',
      ofApp: 'server:server 711',
      tools: 'server:server 755',
      tokens: 'server:server 600',
      events: 'server:server 600',
      log: 'server:server 600',
      generation: 'root:root 644',
      run: 'root:server 1771',
      runner: 'server:server 600',
      server: 'server:server 600',
      orphans: 'root:root 666',
      processes: 'root:root 700',
      outputs: 'root:root 700',
    },
  );

  await waitFor(
    async () => {
      const texts = await (await sluice.request('/v1/apps/shop/logs?lines=50')).text();
      return texts.includes(`hello from ${ids.uid}`) && texts.includes('by its name');
    },
    { what: 'the log' },
  );

  const { stdout: processes } = await promisify(execFile)('ps', ['-u', user, '-o', 's=,args=']);
  assert.doesNotMatch(processes, /^[^Z] .*sleep/m, 'nothing of the build goes on');
  const { stdout: health } = await cli(['doctor', '--json'], { env: { SLUICE_HOME: sluice.home } });
  const checks = JSON.parse(health).checks as { name: string; state: string; message: string }[];
  assert.equal(checks.find(({ name }) => name === 'home')?.state, 'ok', health);

  // What it has written outlives its releases, and those go when their time has come, whatever the build closed in them.
  await sluice.deploy('shop', app());
  await sluice.deploy('shop', app());
  await untilRemoved(target.release(1).directory);
  assert.match(JSON.parse(await sluice.get('shop')).visits, /^(started\n){6}$/);
  await sluice.rollback('shop');
  assert.equal(JSON.parse(await sluice.get('shop')).cwd, target.release(2).directory);

  await assert.rejects(
    sluice.deploy(
      'shop',
      app({
        'build.js': `${'require("fs").mkdirSync("x/y",{recursive:true});require("fs").chmodSync("x",0);process.exit(3)'}`,
      }),
    ),
    (error: AppError) => error.code === 'build_failed',
  );
  assert.deepEqual(await readdir(target.staging), []);
  assert.deepEqual(await readdir(target.release(4).directory), ['.sluice']);

  // The server is replaced, and the runner: both find all in order, and the workers are known by their secret.
  await sluice.kill();
  await sluice.up({ HOME: sluice.home });
  assert.equal(JSON.parse(await sluice.get('shop')).uid, ids.uid);
  await isolated.killRunner();
  await isolated.startRunner();
  await sluice.untilRunning('shop');
  assert.equal(JSON.parse(await sluice.get('shop')).uid, ids.uid);

  await sluice.deploy('shop', app(), 'staging');
  assert.deepEqual(await isolated.users(), [user, `${user}_staging`]);
  await sluice.call('DELETE', '/v1/apps/shop?confirm=shop');
  assert.deepEqual(await isolated.users(), []);
  await assert.rejects(stat(paths.app('shop')), { code: 'ENOENT' });
  assert.deepEqual(
    (await readdir(sluice.home)).filter((name) => name.startsWith('.removing')),
    [],
  );
  await sluice.deploy('shop', app());
  assert.match(JSON.parse(await sluice.get('shop')).visits, /^(started\n){2}$/);
  assert.doesNotMatch(await readFile(paths.log, 'utf8'), /"level":"error"/);
  // The workers that outlived their runner were known to the next, and retired.
  assert.doesNotMatch(isolated.output, /of an earlier runner .*did not|"level":"error"/);
});

test('the files of a removed app are gone before a new app gets its user, and never harm a new app (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice, owner } = isolated;
  const leave = (app: string) =>
    isolated.asServer('mkdir -p "$1/production"', join(sluice.home, `.removing-${app}-1`));
  const left = async () => (await readdir(sluice.home)).filter((name) => name.startsWith('.removing'));
  await leave('shop');
  const settings = { shared: ['data'], settleTime: 100, workers: 1 };
  await sluice.deploy('shop', app({ 'sluice.json': settings }));
  assert.deepEqual(await left(), []);

  // The state after a server made the new app without finishing the removal of the old one.
  await leave('shop');
  const { pid } = JSON.parse(await sluice.get('shop'));
  await sluice.kill();
  await sluice.up({ HOME: sluice.home });
  await sluice.untilRunning('shop');
  assert.equal(JSON.parse(await sluice.get('shop')).pid, pid);
  assert.deepEqual(await isolated.users(), [`${owner}_shop`]);
  assert.match(await (await sluice.request('/v1/apps/shop/logs?lines=50')).text(), /hello from/);
  assert.deepEqual(await left(), ['.removing-shop-1']);

  await sluice.call('DELETE', '/v1/apps/shop?confirm=shop');
  await sluice.deploy('shop', app());
  assert.deepEqual(await left(), []);
});

test('an environment is removed with its user, and the other environment keeps its own (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice, owner } = isolated;
  await sluice.deploy('shop', app());
  await sluice.deploy('shop', app(), 'staging');
  assert.deepEqual((await isolated.users()).toSorted(), [`${owner}_shop`, `${owner}_shop_staging`]);
  const pids = async () => (await sluice.status('shop')).workers.map(({ pid }) => pid);
  const before = await pids();
  await sluice.call('DELETE', '/v1/apps/shop?environment=staging&confirm=shop@staging');
  assert.deepEqual(await isolated.users(), [`${owner}_shop`]);
  assert.deepEqual(await pids(), before);
  assert.deepEqual(await readdir(join(sluice.paths.apps, 'shop')), ['production']);
  assert.deepEqual(
    (await readdir(sluice.home)).filter((name) => name.startsWith('.removing')),
    [],
  );
});

test('a first deploy leaves no app if the app cannot get a user (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice, owner } = isolated;
  await promisify(execFile)('useradd', ['--system', '--home-dir', '/nonexistent', `${owner}_taken`]);
  await assert.rejects(sluice.deploy('taken', app()), { code: 'user_refused' });
  await assert.rejects(sluice.status('taken'), { code: 'app_not_found' });
  assert.ok(!(await readdir(sluice.paths.apps)).includes('taken'));
});

test("a static site runs as its user, and keeps that user's hashed files of the release before (thorough)", {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const { sluice, owner } = await Isolated.start(t);
  const site = (name: string) => ({
    'dist/index.html': name,
    [`dist/assets/${name}.js`]: name,
    'sluice.json': { static: 'dist', keepReleases: 2, settleTime: '20ms' },
  });
  const { releases } = sluice.paths.environment({ app: 'shop', environment: 'production' });
  const names = ['a-OneOne1x', 'a-TwoTwo2x', 'a-Three3xy'] as const;
  for (const name of names) {
    await sluice.deploy('shop', site(name));
    assert.equal(await sluice.get('shop'), name);
  }
  const { uid } = await idsOf(`${owner}_shop`);
  const kept = await lstat(join(releases, `3/dist/assets/${names[1]}.js`));
  assert.deepEqual([kept.uid, kept.nlink, kept.mode & 0o777], [uid, 2, 0o444]);
  assert.equal(await sluice.get('shop', `/assets/${names[1]}.js`), names[1]);
  await assert.rejects(lstat(join(releases, `3/dist/assets/${names[0]}.js`)), { code: 'ENOENT' });
  await untilRemoved(join(releases, '1'));
});
