import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ServerStatus } from '../../src/api/routes/server.ts';
import { Paths } from '../../src/config/paths.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { parentOf, processStartTime } from '../../src/system/process/processes.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { doctor } from '../support/doctor.ts';
import { firstPort } from '../support/free-port.ts';
import { fetchOnce } from '../support/http.ts';
import { Sluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { writeTree } from '../support/tree.ts';
import { waitFor } from '../support/wait.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('a server is not started again if it ends with 0, cannot start, or finds another server', async (t) => {
  for (const [status, expected] of [
    [0, 0],
    [1, 1],
    [3, 1],
    [70, 1],
  ] as const) {
    const { supervisor, starts } = await supervise(t, `process.exit(${status});`);
    assert.deepEqual(await once(supervisor, 'exit'), [expected, null]);
    assert.deepEqual(await starts(), ['started']);
  }
});

test('a server that crashes is started again, even if the new one cannot start at first', async (t) => {
  // The first server is killed, the second finds its port taken, the third stays.
  const { supervisor, starts } = await supervise(
    t,
    `if (count === 1) process.kill(process.pid, 'SIGKILL');
     if (count === 2) process.exit(1);
     process.on('SIGTERM', () => process.exit(0));
     note('ready');
     setInterval(() => {}, 1000);`,
  );
  await waitFor(async () => (await starts()).includes('ready'), { what: 'the third start' });
  assert.deepEqual(await starts(), ['started', 'started', 'started', 'ready']);
  supervisor.kill('SIGTERM');
  await once(supervisor, 'exit');
});

test('the delay grows with each crash at the start', async (t) => {
  const { supervisor, starts } = await supervise(t, `process.kill(process.pid, 'SIGKILL');`);
  let said = '';
  supervisor.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  await waitFor(() => said.includes('in 1 s'), { what: 'a delay of a second' });
  assert.deepEqual(
    [...said.matchAll(/status 137 and starts again in (\S+) s/g)].map(([, delay]) => delay),
    ['0', '0', '0.3', '1'],
  );
  // A signal does not wait for the delay to pass. The supervisor passes the signal to one more start, which stops at once.
  supervisor.kill('SIGTERM');
  await once(supervisor, 'exit');
  assert.equal((await starts()).at(-1), 'started, signal TERM');
});

test('the supervisor passes signals on, SIGINT as SIGTERM', async (t) => {
  for (const [sent, received] of [
    ['SIGINT', 'SIGTERM'],
    ['SIGTERM', 'SIGTERM'],
    ['SIGUSR2', 'SIGUSR2'],
  ] as const) {
    const { supervisor, starts } = await supervise(t, trapping);
    await waitFor(async () => (await starts()).includes('ready'), { what: 'the server' });
    supervisor.kill(sent);
    assert.deepEqual(await once(supervisor, 'exit'), [0, null]);
    assert.deepEqual(await starts(), ['started', 'ready', `got ${received}`]);
  }
});

test('sluice up starts a killed server again within a second, keeps apps up, and stops in order', async (t) => {
  const { home, up, status } = await startUp(t);
  await writeTree(join(home, 'app'), answering('shop'));
  const deployed = await cli(['deploy', join(home, 'app'), '--app', 'shop', '--json'], {
    env: { SLUICE_HOME: home },
  });
  const { url } = JSON.parse(deployed.stdout);
  const first = await status();
  const refused = await cli(['up'], { env: { SLUICE_HOME: home } });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /is already running/);
  assert.equal(await readFile(join(home, 'up.pid'), 'utf8'), `${up.pid}\n`);
  assert.equal(parentOf(first.server.pid), up.pid, 'the parent of the server is the shell');
  let last = first;
  const took: number[] = [];
  for (let times = 0; times < 3; times += 1) {
    process.kill(last.server.pid, 'SIGKILL');
    const killed = performance.now();
    const again = await waitFor(
      async () => {
        const now = await status().catch(() => undefined);
        return now !== undefined && now.server.pid !== last.server.pid && now;
      },
      { what: 'another server' },
    );
    took.push(Math.round(performance.now() - killed));
    assert.equal(await (await fetchOnce(url)).text(), 'shop');
    last = again;
  }
  t.diagnostic(`back after ${took.join(', ')} ms`);
  const running = await status();
  assert.equal(running.runner?.pid, first.runner?.pid);
  const { restarts } = (await doctor(home)).checks;
  assert.equal(restarts?.state, 'warning');
  assert.match(restarts.message, /^the server died 3 times in the last 7 days, .*: killed by SIGKILL$/);
  const workers = running.apps.flatMap((app) => app.workers.map(({ pid }) => pid));
  assert.equal(workers.length > 0, true);

  // Ctrl-C in a terminal: the shell and the server both get the signal.
  process.kill(-(up.pid ?? 0), 'SIGINT');
  assert.deepEqual(await once(up, 'exit'), [0, null]);
  for (const pid of [last.server.pid, first.runner?.pid ?? 0, ...workers])
    assert.equal(await processStartTime(pid), undefined);
  assert.equal(existsSync(join(home, 'up.pid')), false);
});

test('sluice up ends the apps if SIGTERM comes while the server is dead (thorough)', async (t) => {
  const { home, up, status } = await startUp(t);
  await writeTree(join(home, 'app'), answering('shop'));
  await cli(['deploy', join(home, 'app'), '--app', 'shop', '--json'], { env: { SLUICE_HOME: home } });
  const { server, apps } = await status();
  const workers = apps.flatMap((app) => app.workers.map(({ pid }) => pid));
  process.kill(server.pid, 'SIGKILL');
  up.kill('SIGTERM');
  await once(up, 'exit');
  for (const pid of workers) assert.equal(await processStartTime(pid), undefined, `worker ${pid} is gone`);
});

/** Program that notes each start, and each signal that it gets. */
const trapping = `
for (const name of ['SIGINT', 'SIGTERM', 'SIGUSR2']) process.on(name, () => { note('got ' + name); process.exit(0); });
note('ready');
setInterval(() => {}, 1000);`;

/** Starts the supervisor with a small program in place of the server. */
async function supervise(t: TestContext, script: string) {
  const home = await temporaryDirectory(t);
  const log = join(home, 'starts');
  const server = join(home, 'server.cjs');
  const start = `
    const { appendFileSync, readFileSync } = require('node:fs');
    const note = (line) => appendFileSync(${JSON.stringify(log)}, line + '\\n');
    const { SLUICE_SIGNAL: signal } = process.env;
    note(signal ? 'started, signal ' + signal : 'started');
    const count = readFileSync(${JSON.stringify(log)}, 'utf8').split('\\n').length - 1;`;
  await writeFile(server, start + script);
  const supervisor = spawn('sh', [join(root, 'libexec/supervise.sh'), home, process.execPath, server], {
    // Longer than any server of these tests lasts, even on a slow machine.
    env: { ...process.env, SLUICE_STABLE_SECONDS: '3600' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.after(() => end(supervisor));
  const starts = async () => (await readFile(log, 'utf8').catch(() => '')).split('\n').slice(0, -1);
  return { supervisor, starts };
}

/** Runs `sluice up` as a user does. */
async function startUp(t: TestContext) {
  const home = await temporaryDirectory(t);
  const paths = new Paths(home);
  await writeJsonAtomic(paths.settings, {
    listen: { port: 0 },
    apps: { firstPort: await firstPort() },
    ssh: { authorizedKeys: join(home, 'authorized_keys') },
  });
  const up = spawn(join(root, 'bin/sluice'), ['up', '--json'], {
    env: { ...process.env, SLUICE_HOME: home },
    stdio: ['ignore', 'pipe', 'inherit'],
    // A process group of its own, as in a terminal.
    detached: true,
  });
  t.after(async () => {
    await end(up);
    await new Sluice(home).end();
  });
  await once(up.stdout, 'data');
  const status = async (): Promise<ServerStatus> => {
    const asked = get({ socketPath: paths.serverSocket, path: '/v1/status', agent: false });
    const [answer] = await once(asked, 'response');
    return JSON.parse(await text(answer));
  };
  return { home, up, status };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}
