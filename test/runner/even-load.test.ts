import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { appFile, execSpec } from '../support/exec.ts';
import { fetchText } from '../support/http.ts';
import { Random } from '../support/random.ts';
import { isAppNodeFrom, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const patient = { KEEP_ALIVE_TIMEOUT: '60000' };
/** libuv before 1.45, in Node.js before 20.3, accepts all connections that wait at once. */
const onLinux = { skip: process.platform !== 'linux' || !isAppNodeFrom(20, 3) };

/** Sends a request on a connection. @returns the pid of the worker that answers */
async function ask(socket: Socket): Promise<number> {
  socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
  const [text] = (await once(socket, 'data')) as [string];
  return Number(/x-pid: (\d+)/i.exec(text)?.[1]);
}

/** Opens kept-alive connections. */
function open(t: TestContext, port: number, size: number): Socket[] {
  const sockets = Array.from({ length: size }, () => connect(port, '127.0.0.1').setEncoding('latin1'));
  t.after(() => sockets.map((socket) => socket.destroy()));
  return sockets;
}

/** Opens kept-alive connections at once, and returns how many each worker has, by pid. */
async function burst(t: TestContext, port: number, size: number) {
  return countPids(await Promise.all(open(t, port, size).map(ask)));
}

function countPids(pids: number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const pid of pids) counts.set(pid, (counts.get(pid) ?? 0) + 1);
  return counts;
}

/**
 * Opens several bursts of connections.
 * @param totals connections of each worker so far, by pid
 * @returns the middle one of the ratios of the largest number of connections to the mean, after each burst
 */
async function unevenness(
  t: TestContext,
  { port }: TestRunner,
  size: number,
  totals = new Map<number, number>(),
) {
  const ratios: number[] = [];
  const all: string[] = [];
  for (let round = 0; round < 7; round += 1) {
    for (const [pid, count] of await burst(t, port, size)) totals.set(pid, (totals.get(pid) ?? 0) + count);
    const counts = [...totals.values()];
    all.push(counts.join(':'));
    ratios.push((Math.max(...counts) * counts.length) / counts.reduce((sum, count) => sum + count));
  }
  t.diagnostic(`${totals.size} workers after bursts of ${size} connections: ${all.join(', ')}`);
  return ratios.toSorted((a, b) => a - b)[3] ?? Number.NaN;
}

for (const workers of [2, 4]) {
  test(`${workers} workers get equal shares of a burst of connections`, onLinux, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('plain.cjs', { workers }, patient));
    const totals = new Map<number, number>();
    for (const size of [64, 200]) assert.ok((await unevenness(t, runner, size, totals)) <= 1.1);
    // No message is needed.
    await runner.kill();
    assert.ok((await unevenness(t, runner, 64, totals)) <= 1.1);
    assert.equal(totals.size, workers);
  });
}

const commands = [
  ['two commands', `true; node ${appFile('plain.cjs')}; true`, 2],
  ['node:cluster', `node ${appFile('cluster.cjs')}`, 1],
] as const;

for (const [what, command, workers] of commands) {
  test(`processes of ${what} get equal shares of a burst of connections`, onLinux, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(execSpec(runner, command, { workers }, patient));
    await bothAnswer(runner);
    assert.ok((await unevenness(t, runner, 64)) <= 1.1);
  });
}

test(
  'no connection waits for a worker that stands still, and a new worker gets its share',
  onLinux,
  async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('plain.cjs', { workers: 2, stuckTimeout: 0 }, patient));
    // The next request has begun, so these connections cannot move.
    const hold = async (size: number) => {
      const sockets = open(t, runner.port, size);
      const counts = countPids(await Promise.all(sockets.map(ask)));
      // A worker that is killed resets connections with bytes that it has not read.
      for (const socket of sockets) socket.on('error', () => undefined).write('GET ');
      return counts;
    };
    const [running = 0, stopped = 0] = (await hold(20)).keys();
    process.kill(stopped, 'SIGSTOP');
    assert.deepEqual([...(await hold(60))], [[running, 60]]);
    process.kill(stopped, 'SIGKILL');
    await waitFor(async () => {
      const [status] = await runner.client.call('status', {});
      return status?.workers.filter(({ pid, state }) => pid !== stopped && state === 'open').length === 2;
    });
    // One after the other: on a busy machine, the new worker may be late for a burst.
    let accepted = 0;
    for (let count = 0; count < 60; count += 1)
      if ((await burst(t, runner.port, 1)).has(running)) accepted += 1;
    assert.ok(accepted < 30, `the worker with more connections accepted ${accepted} of 60`);
  },
);

test('no connection is lost while workers pause, siblings stand still, releases are switched and the runner is killed', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = () => runner.spec('plain.cjs', { workers: 3, drainTimeout: '20s', stuckTimeout: 0 }, patient);
  await runner.release(spec());
  const errors: string[] = [];
  let answered = 0;
  let isStopped = false;
  let phase = 'start';
  // Some connections are short, and some stay for a while, so the loads differ all the time.
  const client = async (index: number) => {
    for (let turn = 0; !isStopped; turn += 1) {
      const socket = connect(runner.port, '127.0.0.1');
      try {
        for (let request = 0; request <= (turn % (index + 1)) * 5; request += 1) {
          socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
          await once(socket, 'data');
          answered += 1;
        }
      } catch (error) {
        errors.push(`${phase}: ${error}`);
      }
      socket.destroy();
    }
  };
  const clients = Array.from({ length: 24 }, (_, index) => client(index));
  const some = async () => {
    const before = answered;
    await waitFor(() => answered > before + 500, { what: 'answers' });
  };
  const pids = async () => {
    const [status] = await runner.client.call('status', {});
    return status?.workers.flatMap(({ pid, state }) => (state === 'open' ? [pid] : [])) ?? [];
  };
  const stop = async (work: () => Promise<unknown>) => {
    const [pid = 0] = await pids();
    process.kill(pid, 'SIGSTOP');
    try {
      await work();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  };
  await some();
  for (let round = 0; round < 3; round += 1) {
    phase = `a worker stood still, round ${round}`;
    await stop(some);
    await some();
    phase = `switch ${round}`;
    await runner.release(spec());
    await some();
  }
  phase = 'without a runner';
  await runner.kill();
  await some();
  isStopped = true;
  await Promise.all(clients);
  t.diagnostic(`${answered} requests`);
  assert.deepEqual(errors, []);
});

test(
  'an app that closes its server while its worker has paused is served when it listens again',
  onLinux,
  async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('reopening.cjs', { workers: 2, stuckTimeout: 0 }, patient));
    const counts = await burst(t, runner.port, 3);
    const fewer = [...counts].find(([, count]) => count === 1)?.[0] ?? 0;
    // The other worker has paused, and closes its server when it is asked to.
    const more = [...counts].find(([, count]) => count === 2)?.[0] ?? 0;
    process.kill(more, 'SIGUSR2');
    process.kill(fewer, 'SIGSTOP');
    assert.equal((await fetchText(runner.port)).body, 'open again');
  },
);

/** Returns true if as many workers as expected have connections, and each is within a tenth of the mean. */
function areEven(counts: Map<number, number>, workers: number): boolean {
  const loads = [...counts.values()];
  const mean = loads.reduce((sum, load) => sum + load, 0) / workers;
  return loads.length === workers && loads.every((load) => Math.abs(load - mean) <= mean / 10);
}

for (const [what, command, workers] of commands)
  test(`idle connections move to a process of ${what} that follows a dead one`, onLinux, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(execSpec(runner, command, { workers }, patient));
    await bothAnswer(runner);
    const sockets = open(t, runner.port, 64);
    const pids = await Promise.all(sockets.map(ask));
    const [killed = 0] = pids;
    process.kill(killed, 'SIGKILL');
    const alive = sockets.filter((_, index) => pids[index] !== killed);
    await waitFor(async () => areEven(countPids(await Promise.all(alive.map(ask))), 2));
  });

for (const workers of [2, 4]) {
  test(
    `${workers - 1} of ${workers} workers give idle connections to a worker that follows a dead one`,
    onLinux,
    async (t) => {
      const runner = await TestRunner.start(t);
      await runner.release(runner.spec('plain.cjs', { workers }, patient));
      const sockets = open(t, runner.port, 64);
      const pids = await Promise.all(sockets.map(ask));
      const killed = pids[0] ?? 0;
      process.kill(killed, 'SIGKILL');
      const alive = sockets.filter((_, index) => pids[index] !== killed);
      // Each connection also answers while others move.
      await waitFor(async () => {
        const counts = countPids(await Promise.all(alive.map(ask)));
        assert.equal(counts.has(killed), false);
        return areEven(counts, workers);
      });
    },
  );
}

test('idle connections move to a worker that stood still when they came', onLinux, async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { workers: 2, stuckTimeout: 0 }, patient));
  const [stopped = 0] = await Promise.all(open(t, runner.port, 2).map(ask));
  process.kill(stopped, 'SIGSTOP');
  const sockets = open(t, runner.port, 64);
  const counts = countPids(await Promise.all(sockets.map(ask)));
  assert.equal(counts.has(stopped), false);
  process.kill(stopped, 'SIGCONT');
  await waitFor(async () => areEven(countPids(await Promise.all(sockets.map(ask))), 2));
});

test('no request is lost while idle connections move to a new worker', onLinux, async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('plain.cjs', { workers: 2 }, patient));
  const sockets = open(t, runner.port, 64);
  const pids = await Promise.all(sockets.map(ask));
  const [killed = 0] = pids;
  const alive = sockets.filter((_, index) => pids[index] !== killed);
  const errors: string[] = [];
  const random = new Random(16);
  let isStopped = false;
  let answered = 0;
  let moves = 0;
  const client = async (socket: Socket) => {
    socket.once('close', () => isStopped || errors.push('closed'));
    let former = 0;
    while (!isStopped && errors.length === 0) {
      const pid = await ask(socket);
      if (former !== 0 && pid !== former) moves += 1;
      former = pid;
      answered += 1;
      // Some requests follow at once, and others while the connection is on its way.
      if (random.once(4)) await new Promise((resolve) => setTimeout(resolve, random.below(30)));
    }
  };
  const clients = alive.map(client);
  process.kill(killed, 'SIGKILL');
  await waitFor(() => errors.length > 0 || (moves >= alive.length / 4 && answered >= 5000));
  isStopped = true;
  if (errors.length === 0) await Promise.all(clients);
  t.diagnostic(`${answered} requests, ${moves} moves`);
  assert.deepEqual(errors, []);
});

/** Waits until both processes of the live release accept. */
async function bothAnswer({ port }: TestRunner): Promise<void> {
  const answered = new Set<unknown>();
  const ask = async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => fetchText(port, '/slow')));
    for (const { headers } of answers) answered.add(headers['x-pid']);
    return answered.size === 2;
  };
  await waitFor(ask, { what: 'both processes' });
}
