import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { Paths } from '../../src/config/paths.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { CallClient } from '../../src/protocol/peer.ts';
import type { JobSpec, RunnerCalls } from '../../src/protocol/runner.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import { waitFor } from '../support/wait.ts';

const run = promisify(execFile);

const app = {
  'sluice.json': {
    settleTime: 100,
    workers: 1,
    cron: [{ name: 'tick', schedule: '* * * * * *', command: 'true' }],
  },
  'server.js': `setInterval(() => console.log('tick'), 20);
    require('node:http').createServer((_, response) => response.end('x')).listen(process.env.PORT);`,
};

async function callerOf(paths: Paths): Promise<CallClient<RunnerCalls>> {
  const socket = connect(paths.runnerSocket);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return new CallClient<RunnerCalls>(socket, () => new AppError('runner_unavailable', 'the runner is gone'));
}

const ofRoot = '{"generation":1,"release":1}';

/** Makes a directory of root with a file that no other user may change. */
async function directoryOfRoot(t: {
  after(work: () => Promise<void>): void;
}): Promise<{ path: string; file: string }> {
  const path = await mkdtemp(join(tmpdir(), 'sluice-test-root-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  const file = join(path, 'file');
  // The server reads it in the place of another: what it says must make sense.
  await chmod(path, 0o755);
  await writeFile(file, ofRoot, { mode: 0o644 });
  return { path, file };
}

test('a server that was taken over reaches only its own user and those of apps', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice, owner } = isolated;
  const { paths } = sluice;
  await sluice.deploy('shop', app);
  // What somebody else has made, and an app of the same name would get.
  await run('useradd', ['--system', `${owner}_ghost`]);
  const runner = await callerOf(paths);
  t.after(() => runner.close());

  const job = async (user: unknown): Promise<string> => {
    let printed = '';
    const spec = {
      argv: ['/usr/bin/id'],
      directory: '/',
      env: {},
      user,
      lowPriority: false,
      timeout: 10_000,
    } as JobSpec;
    await runner.call('job', { job: spec }, { onProgress: ({ text }) => (printed += text) });
    return printed.trim();
  };
  const { uid, gid } = await idsOf(`${owner}_shop`);
  assert.equal(
    await job('shop'),
    `uid=${uid}(${owner}_shop) gid=${gid}(${owner}_shop) groups=${gid}(${owner}_shop)`,
  );
  assert.match(
    await job(null),
    new RegExp(
      `^uid=${isolated.uid}\\(${owner}\\) gid=${isolated.gid}\\(${owner}\\) groups=${isolated.gid}\\(`,
    ),
  );
  for (const user of [
    'root',
    'ghost',
    'nobody',
    '0',
    '',
    '../shop',
    'shop@..',
    'shop\n',
    0,
    undefined,
    {},
    ['root'],
  ])
    await assert.rejects(job(user));
  for (const key of ['ghost', '../../etc', 'shop@../..', ''])
    await assert.rejects(runner.call('prepare', { key }));

  const root = await directoryOfRoot(t);
  const shop = paths.environment({ app: 'shop', environment: 'production' });
  await symlink(root.path, join(shop.staging, '98'));
  await mkdir(join(shop.staging, '99'));
  for (const tree of [
    'staging/98',
    'staging/99',
    'staging/../..',
    '../../../..',
    root.path,
    'logs',
    'staging/',
    'releases/0',
  ])
    await assert.rejects(runner.call('own', { key: 'shop', tree }));
  for (const aside of ['apps', '.', '..', '.removing-shop-1/..', '.removing-other-1', root.path])
    await assert.rejects(runner.call('forget', { key: 'shop', aside }));
  // Keys and limits become names and contents of files of cgroups.
  const spec: JobSpec = {
    argv: ['/bin/true'],
    directory: '/',
    env: {},
    user: null,
    lowPriority: false,
    timeout: 10_000,
  };
  const limits = { key: 'shop', memory: null, processes: null, cpuWeight: 100 };
  for (const wrong of [
    { key: `x/../../../../../../..${root.path}` },
    { key: '' },
    { key: 7 },
    { memory: 'x' },
    { processes: -1 },
    { cpuWeight: '100\n' },
  ])
    await assert.rejects(runner.call('job', { job: spec, limits: { ...limits, ...wrong } as typeof limits }));
  for (const key of [`x/../../../../../../..${root.path}`, '', '../shop'])
    await assert.rejects(runner.call('stop', { key }));
  assert.equal((await lstat(root.file)).uid, 0);
  assert.deepEqual(await isolated.users(), [`${owner}_ghost`, `${owner}_shop`]);
});

test('root does not follow links that the server puts where root writes (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { paths } = sluice;
  await sluice.deploy('shop', app);
  const shop = paths.environment({ app: 'shop', environment: 'production' });
  const root = await directoryOfRoot(t);
  const untouched = async () => {
    assert.deepEqual(await readdir(root.path), ['file']);
    assert.equal(await readFile(root.file, 'utf8'), ofRoot);
    const { uid, mode } = await lstat(root.file);
    assert.deepEqual({ uid, mode: mode & 0o777 }, { uid: 0, mode: 0o644 });
  };

  // What the runner makes anew in the directory of the target.
  for (const path of [shop.generation, shop.current, shop.cron, `${shop.cron}.new`]) {
    // In one step: the runner writes there each second.
    await symlink(root.file, `${path}-link`);
    await rename(`${path}-link`, path);
  }
  await sluice.deploy('shop', app);
  assert.ok((await lstat(shop.generation)).isFile());
  await waitFor(async () => (await lstat(shop.cron)).isFile(), { what: 'the results of cron' });
  await untouched();

  // The directories above: what an app prints is lost then, rather than written elsewhere.
  await waitFor(async () => {
    await rename(shop.logs, `${shop.logs}-moved-${Date.now()}`);
    // Where the runner has missed it already there is another.
    return symlink(root.path, shop.logs).then(
      () => true,
      () => false,
    );
  });
  await waitFor(() => isolated.output.includes('cannot be written'), { what: 'the fault' });
  await untouched();
  await isolated.killRunner();
  await isolated.startRunner();
  await sluice.untilRunning('shop');
  assert.equal(await sluice.get('shop'), 'x');
  await untouched();

  // Where its sockets and records are; before the first start of a runner, for then they are root's.
  await sluice.call('POST', '/v1/apps/shop/stop');
  await isolated.killRunner();
  for (const path of [paths.outputs, paths.processes]) await rename(path, `${path}-moved`);
  for (const path of [paths.runnerSocket, paths.orphanSocket]) await rm(path);
  for (const path of [paths.runnerSocket, paths.orphanSocket, paths.outputs, paths.processes])
    await symlink(root.path, path);
  await isolated.startRunner();
  await untouched();

  await isolated.killRunner();
  await rename(paths.run, `${paths.run}-moved`);
  await symlink(root.path, paths.run);
  await isolated.startRunner();
  await untouched();
  assert.match(isolated.output, /another user's file was in the place of run, and was renamed to \.run-/);
  await sluice.kill();
  await sluice.up({ HOME: sluice.home });
  await sluice.call('POST', '/v1/apps/shop/start');
  assert.equal(await sluice.get('shop'), 'x');
});

test("files of root stay root's wherever the server moves them (thorough)", {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { paths } = sluice;
  await sluice.deploy('shop', app);
  const shop = paths.environment({ app: 'shop', environment: 'production' });
  const runner = await callerOf(paths);
  t.after(() => runner.close());
  const ownerOf = async (path: string) => (await lstat(path)).uid;

  // Into a tree that is handed over: an app would get the directory that the runner takes to be root's alone.
  const tree = join(shop.staging, '50');
  await isolated.asServer('mkdir -m 700 "$1" && mv "$2" "$1/run"', tree, paths.run);
  await runner.call('own', { key: 'shop', tree: 'staging/50' });
  for (const name of ['run', 'run/outputs', 'run/processes', 'run/orphans.sock'])
    assert.equal(await ownerOf(join(tree, name)), 0, name);

  // In the place of logs, where the server may put links that root would write through.
  const root = await directoryOfRoot(t);
  await run('mv', [join(tree, 'run'), `${paths.run}-moved`]);
  const planted = join(shop.logs, 'app.log');
  await isolated.asServer(
    // Where the runner has missed it already there is another.
    'mv "$1" "$1-aside"; until mv -T "$2" "$1"; do mv -T "$1" "$1-$(date +%N)"; done; ln -s "$3" "$4"',
    shop.logs,
    `${paths.run}-moved`,
    root.file,
    planted,
  );
  await waitFor(() => isolated.output.includes('cannot be written'), { what: 'the fault' });
  await assert.rejects(runner.call('prepare', { key: 'shop' }));
  assert.equal(await readFile(root.file, 'utf8'), ofRoot);

  // In the place of what the runner has in \`run\`, at its next start.
  runner.close();
  await isolated.killRunner();
  await isolated.asServer(
    'rm "$1/app.log"; mkfifo "$1/x.out" "$1/x.err"; echo "{}" > "$1/x.json"; mv "$1-aside" "$2"; mkdir "$3"; mv "$1" "$3/outputs"; mv "$2" "$1"',
    shop.logs,
    `${shop.logs}-kept`,
    paths.run,
  );
  await isolated.startRunner();
  assert.ok(!(await readdir(paths.outputs)).includes('x.out'));
});

test('the next runner starts, whatever the server puts in the place of its sockets and records (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { paths } = sluice;
  await sluice.deploy('shop', app);
  // Workers of whom the records are gone would go on by themselves.
  await sluice.call('POST', '/v1/apps/shop/stop');
  await isolated.killRunner();
  await sluice.kill();
  // Its own socket is the server's to remove, also where the directory is root's.
  await isolated.asServer('rm "$1"; mkdir -p "$1/full"; chmod 0 "$1"', paths.runnerSocket);
  await isolated.startRunner();
  await isolated.killRunner();
  // All else by a directory of its own.
  await isolated.asServer(
    'mv "$1" "$1-moved"; mkdir "$1"; for name in runner.sock orphans.sock; do mkdir -p "$1/$name/full"; done; touch "$1/outputs"; ln -s / "$1/processes"',
    paths.run,
  );
  await isolated.startRunner();
  await isolated.killRunner();
  await isolated.asServer('mv "$1" "$1-again"; mkfifo "$1"', paths.run);
  await isolated.startRunner();
  assert.equal((await lstat(paths.outputs)).uid, 0);
  await sluice.up({ HOME: sluice.home });
  await sluice.call('POST', '/v1/apps/shop/start');
  assert.equal(await sluice.get('shop'), 'x');
});
