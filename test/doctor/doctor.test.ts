import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Paths } from '../../src/config/paths.ts';
import { checkApps } from '../../src/doctor/apps.ts';
import { summary } from '../../src/doctor/doctor.ts';
import { checkApi, checkRunner, checkServer } from '../../src/doctor/server.ts';
import type { Snapshot } from '../../src/doctor/snapshot.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { answering, running } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { canMount, doctor, inNamespace } from '../support/doctor.ts';
import { canHaveNetwork } from '../support/network.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

test('without a fault, doctor exits with status 0, with or without warnings', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('here'));
  const { checks } = await doctor(sluice.home);
  const { kernel, ...others } = checks;
  assert.notEqual(kernel?.state, 'fault');
  for (const check of Object.values(others)) assert.equal(check.state, 'ok', check.message);
  const names =
    'server runner restarts apps settings ports api outside home disk logs clock node programs limits'.split(
      ' ',
    );
  assert.deepEqual(Object.keys(others), names);

  const { code: status, stdout } = await cli(['doctor'], { env: { SLUICE_HOME: sluice.home } });
  assert.equal(status, 0);
  assert.match(stdout, /^ok {7}server {4}Sluice \d\S+ answers, with its state in /);
  assert.match(stdout, /\nok {7}apps {6}1 of 1 run\n/);
  assert.match(stdout, /\n\n(?:All 16 checks are ok\.|1 warning; 15 of 16 checks are ok\.)\n$/);
  const missing = await cli(['doctor'], { env: { SLUICE_HOME: join(sluice.home, 'missing') } });
  assert.equal(missing.code, 1, 'a fault');
});

test('a killed server is a fault with the command that starts it, and the other checks still run (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.kill();
  const { state, checks } = await doctor(sluice.home);
  assert.equal(state, 'fault');
  assert.equal(checks['server']?.state, 'fault');
  assert.match(checks['server'].hint, /Start it with: SLUICE_HOME=\S+ \S+ up/);
  for (const name of 'restarts settings ports api home disk logs clock node programs'.split(' ')) {
    assert.equal(checks[name]?.state, 'ok', name);
  }
  const { stdout } = await cli(['doctor'], { env: { SLUICE_HOME: sluice.home } });
  assert.match(stdout, /^FAULT {4}server {4}Sluice is not running.*\n {21}Its state would be in /);
  assert.match(stdout, /\n1 fault(?:, 1 warning)?; \d+ of 12 checks are ok\.\n$/);
});

test('a runner that does not answer is a fault (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const { runner } = await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status');
  signalProcess(runner.pid, 'SIGSTOP');
  // Disposed of before the server stops, because a stopped runner cannot answer it.
  using _ = { [Symbol.dispose]: () => void signalProcess(runner.pid, 'SIGCONT') };
  const { checks } = await doctor(sluice.home);
  assert.equal(checks['server']?.state, 'ok');
  assert.equal(checks['runner']?.state, 'fault');
  assert.match(checks['runner'].message, /\(pid \d+\) has not answered for 5 s/);
});

test('doctor warns of a server of another version than the installed one, with how to replace it', () => {
  const look = (systemWide: boolean) => {
    const snapshot = { server: { state: 'up', version: '0.0.1' }, paths: new Paths('/home'), systemWide };
    return summary([...checkServer(snapshot as unknown as Snapshot)]);
  };
  assert.equal(look(false).state, 'warning');
  assert.match(look(false).message, /^Sluice 0\.0\.1 runs, and \d+\.\d+\.\d+ is installed$/);
  assert.match(look(false).hint, /SIGUSR2/);
  assert.match(look(true).hint, /systemctl restart sluice/);
});

test('a crashed app is a fault, with the cause (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const flag = join(sluice.home, 'die');
  const code = `
    if (require('node:fs').existsSync(${JSON.stringify(flag)})) process.exit(7);
    require('node:http').createServer((q, r) => r.end()).listen(process.env.PORT);
  `;
  await sluice.deploy('shop', running(code, { maxRestarts: 2 }));
  await sluice.deploy('other', answering('fine'));
  await writeFile(flag, '');
  signalProcess((await sluice.status('shop')).workers[0]?.pid as number, 'SIGKILL');
  await waitFor(async () => (await sluice.status('shop')).state === 'crashed', { what: 'a crash' });
  const { checks } = await doctor(sluice.home);
  assert.match(checks['apps']?.message ?? '', /^shop is crashed: .*exit status 7/);
  assert.match(checks['apps']?.hint ?? '', /sluice logs/);
});

test('doctor reports every fault of config.json (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  await writeJsonAtomic(join(home, 'config.json'), { listen: { port: 'many' }, colour: 'red' });
  const { checks } = await doctor(home);
  assert.equal(checks['settings']?.state, 'fault');
  assert.match(checks['settings'].message, /2 faults:\n.*listen\.port.*\n.*colour/s);
  await writeFile(join(home, 'config.json'), '{"listen"');
  assert.match((await doctor(home)).checks['settings']?.message ?? '', /is not valid JSON/);
});

test('doctor reports secrets that other users can access, with commands that fix it (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.call('PATCH', '/v1/apps/shop/env', { WORD: 'secret' });
  const { tokens, serverSocket } = sluice.paths;
  const { env } = sluice.paths.environment({ app: 'shop', environment: 'production' });
  await chmod(sluice.home, 0o750);
  for (const path of [tokens, env, serverSocket]) await chmod(path, 0o644);
  const { checks } = await doctor(sluice.home);
  assert.equal(checks['home']?.state, 'fault');
  assert.match(checks['home'].message, /is open to other users: its mode is 0750/);
  for (const path of [tokens, env, serverSocket]) assert.ok(checks['home'].message.includes(path), path);
  const { status } = spawnSync('sh', ['-ec', checks['home'].hint]);
  assert.equal(status, 0);
  assert.equal((await doctor(sluice.home)).checks['home']?.state, 'ok');
});

test('doctor reports a secret that belongs to another user (thorough)', {
  skip: process.getuid?.() !== 0 && 'only root gives files away',
}, async (t) => {
  const sluice = await startSluice(t);
  await chown(sluice.paths.tokens, 1, 1);
  const { checks } = await doctor(sluice.home);
  assert.match(checks['home']?.message ?? '', /tokens\.json belongs to user 1, and Sluice runs as user 0/);
  assert.equal(checks['home']?.hint, `chown 0 ${sluice.paths.tokens}`);
});

test('less disk space than deploys need is a fault, and logs above their limit are a warning (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  await writeJsonAtomic(join(home, 'config.json'), { minFreeBytes: '900000G', maxLogBytes: 9 });
  const { logs } = new Paths(home).environment({ app: 'shop', environment: 'staging' });
  await mkdir(logs, { recursive: true });
  await writeFile(join(logs, 'app.log'), 'five\n');
  await writeFile(join(logs, 'app.log.1.gz'), 'five\n');
  const { checks } = await doctor(home);
  assert.equal(checks['disk']?.state, 'fault');
  assert.match(checks['disk'].message, /deploys are rejected/);
  assert.equal(checks['logs']?.state, 'warning');
  assert.match(checks['logs'].message, /take 10 B, and "maxLogBytes" is 9 B/);
});

test('doctor reports a file system that has few inodes left (thorough)', {
  skip: !canMount() && 'this machine does not allow mounts',
}, async (t) => {
  const home = await temporaryDirectory(t);
  const mount = (inodes: number) =>
    `mount -t tmpfs -o mode=700,size=400M,nr_inodes=${inodes} tmpfs "$SLUICE_HOME"`;
  const full = await inNamespace(home, '--mount', mount(100));
  assert.equal(full.checks['disk']?.state, 'fault');
  assert.match(full.checks['disk'].message, /only \d\d of 100 inodes are free/);
  assert.equal((await inNamespace(home, '--mount', mount(10_000))).checks['disk']?.state, 'warning');
  assert.equal((await inNamespace(home, '--mount', mount(300_000))).checks['disk']?.state, 'ok');
});

test('doctor reports programs that are missing or too old (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  const path = await temporaryDirectory(t);
  // The last three are what `sluice` itself is started with.
  for (const program of ['sh', 'cat', 'nice', 'uname', 'dirname', 'readlink']) {
    const { stdout } = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' });
    await symlink(stdout.trim(), join(path, program));
  }
  const programs = async () => (await doctor(home, { env: { PATH: path } })).checks['programs'];
  const missing = await programs();
  assert.equal(missing?.state, 'fault');
  assert.equal(missing.message, `git, mkfifo are not in ${path}`);
  for (const program of ['mkfifo', 'git']) {
    await writeFile(join(path, program), '#!/bin/sh\necho git version 2.31.9', { mode: 0o755 });
  }
  assert.match((await programs())?.message ?? '', /git 2\.31\.9 is too old: 2\.32/);
  await writeFile(join(path, 'git'), '#!/bin/sh\necho git version 3.0');
  assert.equal((await programs())?.state, 'ok');
  await writeFile(join(path, 'git'), '#!/bin/sh\nexit 1');
  assert.match((await programs())?.message ?? '', /git does not run/);

  const sluice = await startSluice(t);
  const own = await doctor(sluice.home, { env: { PATH: path } });
  assert.equal(own.checks['programs']?.state, 'ok', 'the PATH of the server counts');
});

test('doctor warns of an API that other machines reach without TLS, running or configured', () => {
  const look = (running: string | undefined, configured: string) => {
    const status = { server: { url: `http://${running}:8700` } };
    const server = running === undefined ? { state: 'down' } : { state: 'up', status };
    const snapshot = { server, limits: { listen: { host: configured } } };
    return summary([...checkApi(snapshot as unknown as Snapshot)]);
  };
  const exposed = look('0.0.0.0', '127.0.0.1');
  assert.equal(exposed.state, 'warning');
  assert.match(exposed.message, /0\.0\.0\.0 without TLS: tokens travel unencrypted/);
  assert.equal(look('[::1]', '0.0.0.0').state, 'ok');
  assert.equal(look(undefined, '::').state, 'warning');
  for (const host of ['::1', '127.0.0.2']) assert.equal(look(undefined, host).state, 'ok', host);
});

test('doctor warns of a kernel that drops connections when the runner is replaced (thorough)', {
  skip: !canHaveNetwork() && 'this machine does not allow a network namespace',
}, async (t) => {
  const home = await temporaryDirectory(t);
  const withValue = (value: number) =>
    inNamespace(home, '--net', `echo ${value} > /proc/sys/net/ipv4/tcp_migrate_req`);
  const { kernel } = (await withValue(0)).checks;
  assert.equal(kernel?.state, 'warning');
  assert.match(kernel.message, /runner is killed or replaced, a few connections .* are reset/);
  assert.match(kernel.hint, /As root: sysctl -w net\.ipv4\.tcp_migrate_req=1\n.*\/etc\/sysctl\.d\//);
  assert.match(kernel.hint, /Deploys, rollbacks and restarts lose no request with either value/);
  assert.equal((await withValue(1)).checks['kernel']?.state, 'ok');
});

test('an app that has been starting for more than a minute is a fault, but not before', () => {
  const since = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
  const app = {
    name: 'shop',
    environment: 'staging',
    state: 'starting',
    crash: null,
    wanted: null,
    exec: null,
    workers: [],
    background: [],
    deploying: [],
    descriptors: 0,
    rebuild: null,
  };
  const look = (seconds: number) => {
    const status = { apps: [{ ...app, since: since(seconds) }] };
    return summary([...checkApps({ server: { state: 'up', status } } as unknown as Snapshot)]);
  };
  assert.equal(look(50).state, 'ok');
  assert.match(look(70).message, /shop@staging has been starting for 1 min 10 s/);
});

test('a hint names the log of Sluice: a file, or the journal under systemd', () => {
  const app = {
    name: 'shop',
    environment: 'production',
    state: 'crashed',
    crash: null,
    workers: [],
    background: [],
    deploying: [],
    rebuild: null,
  };
  const hint = (systemWide: boolean) => {
    const snapshot = { systemWide, server: { state: 'up', status: { apps: [app] } } };
    return summary([...checkApps(snapshot as unknown as Snapshot)]).hint;
  };
  assert.match(hint(false), /Read why it did not start: sluice\.log in the home\./);
  assert.match(hint(true), /Read why it did not start: `journalctl -u sluice -u sluice-runner`\./);
});

test('an app counts as starting since the runner started, not since the app was created (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const flag = join(sluice.home, 'hang');
  const code = `
    if (!require('node:fs').existsSync(${JSON.stringify(flag)}))
      require('node:http').createServer((q, r) => r.end()).listen(process.env.PORT);
    else setInterval(() => {}, 1000);
  `;
  await sluice.deploy('shop', running(code));
  await sluice.stop();
  await makeOld(sluice);
  await writeFile(flag, '');
  await sluice.up();
  assert.equal((await sluice.status('shop')).state, 'starting');
  assert.equal((await doctor(sluice.home)).checks['apps']?.state, 'ok');
});

async function makeOld({ paths }: Sluice): Promise<void> {
  const { state: path } = paths.environment({ app: 'shop', environment: 'production' });
  const state = JSON.parse(await readFile(path, 'utf8'));
  await writeJsonAtomic(path, { ...state, createdAt: '2020-01-01T00:00:00.000Z' });
}

test('doctor warns when the runner nears its limit of open files, and names the apps that use most', () => {
  const look = (descriptors: number | null) => {
    const app = (name: string, count: number) => ({ name, environment: 'production', descriptors: count });
    const status = {
      runner: { pid: 7, descriptors, maxDescriptors: 1024 },
      apps: [app('blog', 4), app('shop', 500), app('mail', 9)],
    };
    const snapshot = { server: { state: 'up', status }, systemWide: false };
    return summary([...checkRunner(snapshot as unknown as Snapshot)]);
  };
  assert.equal(look(null).message, 'connected (pid 7)');
  assert.equal(look(60).state, 'ok');
  assert.equal(look(60).message, 'connected (pid 7), 60 of 1024 file descriptors are open');
  const near = look(600);
  assert.equal(near.state, 'warning');
  assert.match(near.message, /600 of 1024 .*; these apps use most: shop \(500\), mail \(9\), blog \(4\)$/);
});
