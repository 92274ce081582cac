import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { answering } from '../support/apps.ts';
import { fetchOnce } from '../support/http.ts';
import { pack } from '../support/pack.ts';
import { Sluice } from '../support/server.ts';
import { removeDirectory, temporaryDirectory } from '../support/temporary.ts';
import { createHome } from '../support/units.ts';
import { waitFor } from '../support/wait.ts';

interface Status {
  runner: { pid: number } | null;
  apps: { url: string; state: string; workers: { pid: number }[] }[];
}

test('the server as a unit neither starts nor ends a runner, and apps run without the server', async (t) => {
  const units = await create(t);
  const runner = await units.start('runner/main.ts');
  const server = await units.start('server/unit.ts');
  await units.deploy('one');
  const before = await units.call<Status>('GET', '/v1/status');
  assert.equal(before.runner?.pid, runner.pid);

  assert.equal(await end(server), 0);
  assert.equal(await (await fetchOnce(before.apps[0]?.url ?? '')).text(), 'one');
  await units.start('server/unit.ts');
  const after = await units.call<Status>('GET', '/v1/status');
  assert.equal(after.runner?.pid, runner.pid);
  assert.deepEqual(pids(after), pids(before));
});

test('systemd is notified when the apps that ran before run again (thorough)', async (t) => {
  const units = await create(t);
  const runner = await units.start('runner/main.ts');
  const server = await units.start('server/unit.ts');
  await units.deploy('one');
  await end(server);
  await end(runner);
  await units.start('runner/main.ts');
  await units.start('server/unit.ts');
  const { apps } = await units.call<Status>('GET', '/v1/status');
  assert.equal(apps[0]?.state, 'running');
});

test('only the group of the user for pushes may read the keys and open the socket (thorough)', async (t) => {
  const units = await create(t, { ssh: { user: 'pusher' } });
  const { pushes, pushKeys, pushSocket } = units.paths;
  await mkdir(pushes);
  await units.start('runner/main.ts');
  await units.start('server/unit.ts');
  const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINOFEvOEsRZX3FXyb8VuEE2YRhywrd9b7gYmLTS6rknz';
  const added = await units.call<{ user: string; file: string }>('POST', '/v1/keys', { name: 'me', key });
  assert.deepEqual([added.user, added.file], ['pusher', pushKeys]);
  assert.match(await readFile(pushKeys, 'utf8'), /^restrict,command=".*\/ssh\/push\.sock me" ssh-ed25519 /m);
  assert.equal((await stat(pushKeys)).mode & 0o777, 0o640);
  assert.equal((await stat(pushSocket)).mode & 0o777, 0o660);
});

/** A home, and what systemd would start for it, with a `systemd-notify` that writes down what it is notified. */
async function create(t: TestContext, settings: Record<string, unknown> = {}) {
  const { paths, port, secret } = await createHome(settings);
  const { home } = paths;
  const children: ChildProcess[] = [];
  // In this order: what still runs writes into it.
  t.after(async () => {
    for (const child of children.reverse()) await end(child);
    await new Sluice(home).end();
    await removeDirectory(home);
  });
  const bin = await temporaryDirectory(t);
  const notified = join(bin, 'notified');
  await writeFile(notified, '');
  await writeFile(join(bin, 'systemd-notify'), `#!/bin/sh\necho "$@" >>'${notified}'\n`);
  await chmod(join(bin, 'systemd-notify'), 0o755);
  const env = {
    ...process.env,
    SLUICE_HOME: home,
    NOTIFY_SOCKET: '/nonexistent',
    PATH: `${bin}:${process.env['PATH']}`,
  };
  /** @returns when the server has said that it is ready; as systemd does, nobody waits for the runner */
  async function start(module: string): Promise<ChildProcess> {
    await writeFile(notified, '');
    const entry = fileURLToPath(new URL(`../../src/${module}`, import.meta.url));
    const child = spawn(process.execPath, [entry], { env, stdio: 'ignore' });
    children.push(child);
    if (module !== 'server/unit.ts') return child;
    await waitFor(async () => (await readFile(notified, 'utf8')).startsWith('--ready'), {
      what: `${module} ready`,
    });
    return child;
  }
  async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetchOnce(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      ...(body !== undefined && {
        body: body instanceof Uint8Array ? new Uint8Array(body) : JSON.stringify(body),
      }),
    });
    assert.ok(response.ok, `${method} ${path}: ${response.status}`);
    return (await response.json()) as T;
  }
  const deploy = async (text: string) =>
    call('POST', '/v1/apps/shop/releases', new Uint8Array(await pack(answering(text))));
  return { paths, start, call, deploy };
}

function pids({ apps }: Status): number[] {
  return apps.flatMap(({ workers }) => workers.map(({ pid }) => pid));
}

async function end(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
  }
  return child.exitCode;
}
