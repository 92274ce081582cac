import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { processStartTime } from '../../src/system/process/processes.ts';
import { appLog } from '../support/app-log.ts';
import { ask, connectClients, headerOf, nextText } from '../support/clients.ts';
import { fetchText } from '../support/http.ts';
import { appNode, TestRunner } from '../support/runner.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

const killer = fileURLToPath(new URL('../fixtures/kill-at-step.mjs', import.meta.url));
/** Descriptor of a worker's own end of the handoff that connections are taken out of. */
const takeEnd = 4;
/** Limits under which no idle connection is closed, and no drain is cut short, during these tests. */
const patient = { KEEP_ALIVE_TIMEOUT: '60000' };
const lasting = (runner: TestRunner) => runner.spec('plain.cjs', { drainTimeout: '60s' }, patient);

test('no connection in the handoff is lost if the runner dies, and no worker ends before its connections are taken', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(lasting(runner));
  const clients = await connectClients(t, runner);
  const givers = await ownersOf(clients);
  const { generation } = await runner.boot(lasting(runner));
  const takers = await workersOf(runner, 2);
  signal(takers, 'SIGSTOP');
  const switched = runner.client.call('switch', { key: 'shop', generation });
  switched.catch(() => undefined);
  await waitFor(() => inHandoff(takers[0]) === clients.length, { what: 'all connections in the handoff' });
  await waitFor(() => activeGeneration(runner) === generation, { what: 'the commit of the switch' });
  await runner.kill();
  await outlast(givers);
  assert.equal(inHandoff(takers[0]), clients.length);
  signal(takers, 'SIGCONT');
  for (const client of clients) assert.equal(await ask(client), '2');
  await untilEnded(givers);
});

test('connections move from the second handoff to the third if two runners die while new workers wait (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(lasting(runner));
  const clients = await connectClients(t, runner);
  const [giver = 0] = await ownersOf(clients);
  const given = (await Promise.all(clients.map((client) => ask(client, 'x-pid')))).filter(
    (pid) => Number(pid) === giver,
  ).length;
  const late = (await workersOf(runner, 1)).filter((pid) => pid !== giver);
  await runner.kill();

  await runner.launch();
  const { generation } = await runner.boot(lasting(runner));
  const second = await workersOf(runner, 2);
  await waitFor(() => reportsTo(runner) === 2, { what: 'the reports of the orphans' });
  // The runner waits for an orphan that does not answer, and sends the new workers nothing meanwhile.
  signal([...late, ...second], 'SIGSTOP');
  const switched = runner.client.call('switch', { key: 'shop', generation });
  switched.catch(() => undefined);
  await waitFor(() => inHandoff(second[0]) === given, { what: 'the connections in the handoff' });
  await runner.kill();

  await runner.launch({ NODE_OPTIONS: `--import=${killer}`, KILL_AT: 'open' });
  await assert.rejects(runner.release(lasting(runner)), { code: 'runner_unavailable' });
  // They find that another generation is the active one, and have no connection of their own.
  signal([...late, ...second], 'SIGCONT');
  await outlast([giver, ...second]);
  assert.ok((inHandoff(second[0]) ?? 0) >= given);

  await runner.launch();
  await runner.release(lasting(runner));
  for (const client of clients) assert.equal(await ask(client), '4');
  await untilEnded([giver, ...late, ...second]);
});

test('an orphan gives its connections to the handoff of each runner in turn (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(lasting(runner));
  const clients = await connectClients(t, runner);
  const busy = await Promise.all(clients.map(startRequest));
  const orphans = await workersOf(runner, 1);
  let former: number[] = [];
  for (const mark of ['2', '3', '4']) {
    await runner.kill();
    await runner.launch();
    await runner.release(lasting(runner));
    await untilEnded(former);
    former = await workersOf(runner, Number(mark));
    const finish = busy.pop();
    // It becomes idle on the orphan, which gives it to the newest workers.
    assert.equal(await finish?.(), '1');
    assert.equal(await ask(clients[busy.length] as Socket), mark);
  }
  for (const finish of busy) assert.equal(await finish(), '1');
  for (const client of clients) assert.equal(await ask(client), '4');
  await untilEnded(orphans);
});

for (const free of [1, 2]) {
  test(`idle connections of an orphan with ${free} free descriptors move later, and get no old answer${thorough(free !== 1)}`, async (t) => {
    const runner = await TestRunner.start(t);
    const limit = 60;
    const node = join(runner.paths.home, 'limited-node');
    await writeFile(node, `#!/bin/sh\nulimit -n ${limit}\nexec "${appNode}" "$@"\n`, { mode: 0o755 });
    const filler = join(runner.paths.home, 'filler.cjs');
    await writeFile(
      filler,
      `const { closeSync, openSync } = require('node:fs');
      process.once('SIGUSR2', () => {
        const opened = [];
        try { for (;;) opened.push(openSync('/dev/null')); } catch {}
        for (const fd of opened.splice(-${free})) closeSync(fd);
      });`,
    );
    const spec = runner.spec('plain.cjs', { workers: 1, drainTimeout: '60s' }, patient);
    await runner.release({ ...spec, node, nodeArgs: ['--require', filler] });
    const clients = await connectClients(t, runner);
    const [orphan = 0] = await workersOf(runner, 1);
    await runner.kill();
    // It connects to no runner meanwhile.
    signal([orphan], 'SIGUSR2');
    const opened = () => readdirSync(`/proc/${orphan}/fd`).filter((fd) => Number(fd) < limit);
    await waitFor(() => opened().length === limit - free, { what: 'an orphan at its limit' });
    await runner.launch();
    await runner.release(lasting(runner));
    for (const client of clients) assert.equal(await ask(client), '2');
    await untilEnded([orphan]);
  });
}

for (const [name, code] of Object.entries({
  'closes the descriptors of the handoff': '',
  'opens files with the descriptors of the handoff': "fs.openSync('/dev/null'); fs.openSync(__filename);",
  'listens with the descriptors of the handoff':
    "for (let count = 0; count < 2; count += 1) require('node:net').createServer().listen(0, '127.0.0.1').unref();",
})) {
  test(`a release that ${name} does not go live, and the release before keeps its idle connections (thorough)`, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(lasting(runner));
    const clients = await connectClients(t, runner);
    const closer = join(runner.paths.home, 'closer.cjs');
    await writeFile(closer, closing(code));
    const spec = { ...lasting(runner), nodeArgs: ['--require', closer] };
    await assert.rejects(runner.release(spec), /closed descriptor 4 or 5, which belongs to Sluice/);
    for (const client of clients) assert.equal(await ask(client), '1');
  });
}

test('a worker whose app has closed the descriptors of the handoff since it opened serves its idle connections itself (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const closer = join(runner.paths.home, 'closer.cjs');
  await writeFile(closer, `process.on('SIGUSR2', () => { ${closing("console.log('closed');")} });`);
  const spec = { ...lasting(runner), nodeArgs: ['--require', closer] };
  await runner.release(spec);
  const clients = await connectClients(t, runner);
  const old = await workersOf(runner, 1);
  signal(old, 'SIGUSR2');
  const logged = async (words: string) =>
    (await appLog(spec.log.directory)).filter(({ text }) => text.includes(words));
  await waitFor(async () => (await logged('closed')).length === old.length);
  await runner.release(lasting(runner));
  for (const client of clients) assert.equal(await ask(client), '1');
  await untilEnded(old);
  for (let count = 0; count < 8; count += 1) assert.equal((await fetchText(runner.port)).body, '2');
  const words = 'cannot hand over idle connections: the app has closed descriptor 4 or 5';
  assert.notDeepEqual(await logged(words), []);
});

test('after the abort of a worker, its sibling gives its connections to the next release (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(lasting(runner));
  const clients = await connectClients(t, runner);
  const pids = await workersOf(runner, 1);
  const owners = await Promise.all(
    clients.map(async (client) => ({ client, pid: await ask(client, 'x-pid') })),
  );
  const aborted = pids.find((pid) => String(pid) !== owners[0]?.pid) ?? 0;
  process.kill(aborted, 'SIGABRT');
  await waitFor(async () => {
    const workers = await workersOf(runner, 1);
    return workers.length === 2 && !workers.includes(aborted);
  });
  const left = owners.filter(({ pid }) => pid !== String(aborted)).map(({ client }) => client);
  await runner.release(lasting(runner));
  for (const client of left) assert.equal(await ask(client), '2');
});

test('after the abort of the only worker, connections of an orphan reach the next worker (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const single = () => runner.spec('plain.cjs', { workers: 1, drainTimeout: '60s' }, patient);
  await runner.release(single());
  const [client] = (await connectClients(t, runner)) as [Socket];
  const finish = await startRequest(client);
  await runner.kill();
  await runner.launch();
  await runner.release(single());
  const [aborted = 0] = await workersOf(runner, 2);
  process.kill(aborted, 'SIGABRT');
  await waitFor(async () => {
    const [worker] = await workersOf(runner, 2);
    return worker !== undefined && worker !== aborted;
  });
  assert.equal(await finish(), '1');
  assert.equal(await ask(client), '2');
});

test('after a failed commit, the old release still reads from idle connections (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(lasting(runner));
  const clients = await connectClients(t, runner);
  const spec = lasting(runner);
  // No file can be renamed to the path of a directory that is not empty.
  await rm(spec.paths.generation);
  await mkdir(join(spec.paths.generation, 'in the way'), { recursive: true });
  await assert.rejects(runner.release(spec), { code: 'switch_failed' });
  await rm(spec.paths.generation, { recursive: true });
  for (const client of clients) assert.equal(await ask(client), '1');
  await runner.release(lasting(runner));
  for (const client of clients) assert.equal(await ask(client), '3');
});

/** @returns code that closes the descriptors of a worker's handoff, and then runs `code` */
function closing(code: string): string {
  return `const fs = require('node:fs');
    if (require('node:worker_threads').isMainThread) { fs.closeSync(4); fs.closeSync(5); ${code} }`;
}

/** @returns how many connections to the socket for orphans there are */
function reportsTo({ paths }: TestRunner): number {
  const connected = / 0001 03 +\d+ (.*)$/;
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n');
  return lines.filter((line) => connected.exec(line)?.[1] === paths.orphanSocket).length;
}

/** @returns how many connections wait in the handoff of a worker */
function inHandoff(pid: number | undefined): number {
  const info = readFileSync(`/proc/${pid}/fdinfo/${takeEnd}`, 'utf8');
  return Number(/^scm_fds:\s*(\d+)$/m.exec(info)?.[1]);
}

function activeGeneration({ paths }: TestRunner): number {
  const { generation } = paths.environment({ app: 'shop', environment: 'production' });
  return (JSON.parse(readFileSync(generation, 'utf8')) as { generation: number }).generation;
}

/** @returns pids of the workers of a release */
async function workersOf(runner: TestRunner, release: number): Promise<number[]> {
  const [status] = await runner.client.call('status', {});
  return (status?.workers ?? []).filter((worker) => worker.release === release).map(({ pid }) => pid);
}

/** @returns pids of the workers that have connections */
async function ownersOf(clients: Socket[]): Promise<number[]> {
  const pids = await Promise.all(clients.map((client) => ask(client, 'x-pid')));
  return [...new Set(pids)].map(Number);
}

function signal(pids: number[], name: NodeJS.Signals): void {
  for (const pid of pids) process.kill(pid, name);
}

/** Proves that workers do not end within the time in which an idle worker without a runner would end. */
async function outlast(pids: number[]): Promise<void> {
  const end = performance.now() + 2000;
  while (performance.now() < end) {
    for (const pid of pids) assert.ok(await lives(pid), `worker ${pid} has not ended`);
    await sleep(50);
  }
}

async function untilEnded(pids: number[]): Promise<void> {
  for (const pid of pids)
    await waitFor(async () => !(await lives(pid)), { what: `the end of worker ${pid}` });
}

async function lives(pid: number): Promise<boolean> {
  return (await processStartTime(pid)) !== undefined;
}

/** Begins a request. @returns a function that ends the request and returns the release that has answered */
async function startRequest(client: Socket): Promise<() => Promise<string | undefined>> {
  client.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
  assert.match(await nextText(client), /100 Continue/);
  return async () => {
    client.write('body');
    return headerOf(await nextText(client), 'x-mark');
  };
}
