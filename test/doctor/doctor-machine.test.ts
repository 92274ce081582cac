import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Paths } from '../../src/config/paths.ts';
import { summary } from '../../src/doctor/doctor.ts';
import { checkOutside } from '../../src/doctor/ports.ts';
import type { Snapshot } from '../../src/doctor/snapshot.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { listListeners } from '../../src/system/net/listeners.ts';
import { answering } from '../support/apps.ts';
import { canMount, doctor, inNamespace } from '../support/doctor.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';

async function listening(t: TestContext, host: string): Promise<number> {
  const server = createServer().listen(0, host);
  t.after(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function withApp(home: string, app: string, port: number): Promise<void> {
  const { directory, state } = new Paths(home).environment({ app, environment: 'production' });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const createdAt = '2026-01-01T00:00:00.000Z';
  await writeJsonAtomic(state, { port, desired: 'running', workers: null, createdAt });
}

test('a port that another program uses is a fault that names the program, and so are two apps with one port', async (t) => {
  const home = await temporaryDirectory(t);
  const [api, shop] = [await listening(t, '127.0.0.1'), await listening(t, '::')];
  await writeJsonAtomic(join(home, 'config.json'), { listen: { port: api } });
  await withApp(home, 'shop', shop);
  await withApp(home, 'other', 9999);
  await withApp(home, 'twin', 9999);
  const { checks } = await doctor(home);
  assert.equal(checks['ports']?.state, 'fault');
  const holder = `is in use by \\S+ \\(pid ${process.pid}\\)`;
  for (const line of [
    `port ${api} of the API ${holder}`,
    `port ${shop} of shop ${holder}`,
    'other and twin have the same port, 9999',
  ]) {
    assert.match(checks['ports'].message, new RegExp(`^${line}$`, 'm'));
  }
});

test('ports that workers of Sluice use are no fault, with a server or after it was killed', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('here'));
  assert.equal(
    (await doctor(sluice.home)).checks['ports']?.message,
    'no other program uses the ports of the app',
  );
  await sluice.kill();
  assert.equal((await doctor(sluice.home)).checks['ports']?.state, 'ok');
});

test('doctor warns of an app that listens for other machines on a second port', () => {
  const look = (listener: { host: string; port: number; pids: number[] }, host = '127.0.0.1') => {
    const processes = { workers: [{ pid: 7 }], background: [] };
    const url = 'http://localhost:9001';
    const apps = [{ name: 'loud', environment: 'production', url, host, port: 9001, ...processes }];
    const server = { state: 'up', status: { apps } };
    const snapshot = { server, listeners: [listener], limits: { apps: { host: '127.0.0.1' } } };
    return summary([...checkOutside(snapshot as unknown as Snapshot)]);
  };
  assert.deepEqual(look({ host: '0.0.0.0', port: 4000, pids: [7] }), {
    state: 'warning',
    message:
      'loud also listens on port 4000 of 0.0.0.0, which other machines can reach unless a firewall blocks it',
    hint: 'Let the app listen on 127.0.0.1 there, unless other machines need the port. Sluice controls only the port in PORT.',
  });
  for (const quiet of [
    { host: '0.0.0.0', port: 9001, pids: [7] },
    { host: '127.0.0.1', port: 4000, pids: [7] },
    { host: '0.0.0.0', port: 4000, pids: [8] },
  ])
    assert.equal(look(quiet).message, 'apps can be reached from this machine only');
  assert.equal(
    look({ host: '::', port: 9001, pids: [7] }, '::').message,
    'apps can be reached from this machine only, except loud (port 9001 of ::)',
  );
});

test('listeners are found with address, port, user and process', async () => {
  for (const host of ['127.0.0.1', '0.0.0.0', '::1', '::']) {
    // Closed in each round: `::1` could get the port of an earlier server.
    await using server = createServer().listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const found = (await listListeners())?.filter(
      (each) => each.port === port && each.pids.includes(process.pid),
    );
    assert.deepEqual(found, [{ host, port, uid: process.getuid?.(), pids: [process.pid] }]);
  }
});

test('doctor warns by how much a clock has been set back', async (t) => {
  const home = await temporaryDirectory(t);
  await writeFile(join(home, 'events.jsonl'), '');
  const ahead = Date.now() / 1000 + 7200;
  await utimes(join(home, 'events.jsonl'), ahead, ahead);
  const { checks } = await doctor(home);
  assert.equal(checks['clock']?.state, 'warning');
  assert.match(checks['clock'].message, /^the clock is 1\d\d min.* behind the newest file of Sluice/);
});

test('doctor warns of a kernel that lets apps link to files of other users, if apps have system users (thorough)', {
  skip: !canMount() && 'this machine does not allow mounts',
}, async (t) => {
  const home = await temporaryDirectory(t);
  const zero = join(await temporaryDirectory(t), 'zero');
  await writeFile(zero, '0\n');
  const unit = (of: string) =>
    machine(t, {
      systemctl: `printf '%s\\n' Id=sluice.service LoadState=loaded 'Environment=SLUICE_HOME=${of}' ''`,
    });
  const kernel = async (of: string) =>
    (
      await inNamespace(home, '--mount', `mount --bind ${zero} /proc/sys/fs/protected_hardlinks`, {
        PATH: await unit(of),
      })
    ).checks['kernel'];
  const warned = await kernel(home);
  assert.equal(warned?.state, 'warning');
  assert.match(warned.message, /^fs\.protected_hardlinks is 0: an app can link to another user's file/m);
  assert.match(warned.hint, /sysctl -w fs\.protected_hardlinks=1/);
  assert.doesNotMatch((await kernel('/elsewhere'))?.message ?? '', /protected_hardlinks/);
});

/** Writes programs that answer as systemd does, which tests cannot rely on. @returns a PATH with them */
async function machine(t: TestContext, programs: Record<string, string>): Promise<string> {
  const directory = await temporaryDirectory(t);
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(directory, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    await chmod(join(directory, name), 0o755);
  }
  return `${directory}:${process.env['PATH']}`;
}

test('doctor warns of a clock that is not synchronized, except in a container (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  const clock = async (programs: Record<string, string>) =>
    (await doctor(home, { env: { PATH: await machine(t, programs) } })).checks['clock'];
  const real = { 'systemd-detect-virt': 'echo none; exit 1' };
  assert.match((await clock({ ...real, timedatectl: 'echo yes' }))?.message ?? '', /^is synchronized$/);
  const wrong = await clock({ ...real, timedatectl: 'echo no' });
  assert.equal(wrong?.state, 'warning');
  assert.match(wrong.hint, /timedatectl set-ntp true/);
  assert.equal((await clock({ 'systemd-detect-virt': 'echo lxc', timedatectl: 'echo no' }))?.state, 'ok');
});

test('doctor reports units that are down or not enabled, with the command that helps (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  const units = async (states: Record<string, Record<string, string>>) => {
    const blocks = Object.entries(states).map(([id, values]) => {
      const all = {
        LoadState: 'loaded',
        ActiveState: 'active',
        UnitFileState: 'enabled',
        Environment: `A=b SLUICE_HOME=${home}`,
        ...values,
      };
      const unit = id.includes('.') ? id : `${id}.service`;
      const lines = Object.entries({ Id: unit, ...all }).map(([name, value]) => `${name}=${value}`);
      return `case " $* " in *" ${unit} "*) printf '%s\\n' ${lines.map((line) => `'${line}'`).join(' ')} ''; esac`;
    });
    return (await doctor(home, { env: { PATH: await machine(t, { systemctl: blocks.join('\n') }) } })).checks[
      'units'
    ];
  };
  const all = { 'sluice.socket': {}, sluice: {}, 'sluice-runner': {}, ssh: {} };
  assert.equal((await units(all))?.state, 'ok');
  assert.equal((await units({ ...all, sluice: { ActiveState: 'inactive' } }))?.state, 'ok', 'it rests');
  const lacksSocket = await units({ ...all, 'sluice-local.socket': { ActiveState: 'failed' } });
  assert.deepEqual([lacksSocket?.state, lacksSocket?.message], ['fault', 'sluice-local.socket is failed']);
  const failed = await units({ ...all, sluice: { ActiveState: 'failed' } });
  assert.equal(failed?.state, 'fault');
  assert.equal(failed.message, 'sluice.service is failed');
  assert.match(failed.hint, /^systemctl start sluice\.service\nWhy: journalctl .*--unit=sluice\.service$/);
  const shut = await units({ ...all, 'sluice.socket': { ActiveState: 'inactive' } });
  assert.deepEqual([shut?.state, shut?.message], ['fault', 'sluice.socket is inactive']);
  const idle = await units({ ...all, 'sluice-runner': { UnitFileState: 'disabled' } });
  assert.equal(idle?.hint, 'systemctl enable sluice-runner.service');
  assert.match(
    (await units({ ...all, ssh: { ActiveState: 'inactive' } }))?.message ?? '',
    /nobody can push over ssh/,
  );
  assert.equal(await units({ sluice: { Environment: 'SLUICE_HOME=/elsewhere' } }), undefined);

  await chmod(home, 0o711);
  const path = await machine(t, {
    systemctl: `printf '%s\\n' Id=sluice.service LoadState=loaded ActiveState=active 'Environment=SLUICE_HOME=${home}' ''`,
  });
  assert.equal(
    (await doctor(home, { env: { PATH: path } })).checks['home']?.state,
    'ok',
    'apps pass through',
  );
  assert.equal((await doctor(home)).checks['home']?.state, 'fault');
});

test('doctor warns if npm is missing, because apps with packages cannot be built', async (t) => {
  const home = await temporaryDirectory(t);
  const path = await temporaryDirectory(t);
  for (const program of ['sh', 'cat', 'nice', 'uname', 'dirname', 'readlink', 'git', 'mkfifo']) {
    const { stdout } = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' });
    await symlink(stdout.trim(), join(path, program));
  }
  const { checks } = await doctor(home, { env: { PATH: path } });
  assert.equal(checks['node']?.state, 'warning');
  assert.match(checks['node'].message, /^npm does not run/);
  assert.match(
    (await doctor(home)).checks['node']?.message ?? '',
    /^Node\.js \d+\.\d+\.\d+ and npm \d+\.\d+\.\d+ run$/,
  );
});
