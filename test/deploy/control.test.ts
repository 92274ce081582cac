import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { currentLog } from '../../src/logs/files.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { processStartTime, signalProcess } from '../../src/system/process/processes.ts';
import { answering, running } from '../support/apps.ts';
import { Load, orderViolations } from '../support/load.ts';
import type { Files } from '../support/pack.ts';
import { apps } from '../support/runner.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const clients = 16;

test('restart, scale and stop under load lose no request', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', {
    'server.js': await readFile(join(apps, 'plain.cjs'), 'utf8'),
    'sluice.json': { settleTime: 100, workers: 1 },
  });
  const { port } = await sluice.status('shop');
  const post = (verb: string, body?: unknown) => sluice.call('POST', `/v1/apps/shop/${verb}`, body);

  const changes: [what: string, change: () => Promise<unknown>, workers: number][] = [
    ['Scaled up', () => post('scale', { workers: 3 }), 3],
    ['Scaled down', () => post('scale', { workers: 2 }), 2],
    ['Restarted', () => post('restart'), 2],
  ];
  for (const [what, change, workers] of changes) {
    await t.test(`${what}: each request is answered, and afterwards by all new workers`, async (t) => {
      const load = loadOn(t, port);
      const before = await generations(sluice);
      await flows(load);
      await change();
      const changed = performance.now();
      const after = await openWorkers(sluice);
      assert.equal(after.length, workers);
      await waitFor(() => load.answeringSince(changed).length === workers, { what: 'all workers' });
      const { samples, errors } = await load.stop();
      t.diagnostic(`${samples.length} requests, ${errors.length} lost`);
      assert.deepEqual(errors, []);
      assert.deepEqual(load.answeringSince(changed), after);
      const all = new Map([...before, ...(await generations(sluice))]);
      const marked = samples.map((sample) => ({ ...sample, mark: all.get(sample.pid) ?? Number.NaN }));
      assert.equal(new Set(marked.map(({ mark }) => mark)).size, 2);
      assert.deepEqual(orderViolations({ samples: marked }), []);
    });
  }

  await t.test('a stop answers requests in flight, and refuses later ones', async (t) => {
    const inFlight = await Promise.all(Array.from({ length: 8 }, () => Upload.begin(port)));
    const load = loadOn(t, port);
    await flows(load);
    const stopped = post('stop');
    await waitFor(() => isRefused(port), { what: 'the end of its port' });
    const ended = performance.now();
    for (const upload of inFlight) assert.match(await upload.finish(), /^HTTP\/1\.1 200 OK/);
    await stopped;
    const { samples } = await load.stop();
    assert.deepEqual(
      samples.filter(({ start }) => start > ended),
      [],
    );
    const { state, workers } = await sluice.status('shop');
    assert.deepEqual([state, workers], ['stopped', []]);
  });

  await t.test('after a start, no request is lost from the first answer on', async (t) => {
    const load = loadOn(t, port);
    await post('start');
    await flows(load);
    const { samples, lost } = await load.stop();
    const first = Math.min(...samples.map(({ end }) => end));
    t.diagnostic(`${samples.length} requests, ${lost.length} before it listened`);
    assert.ok(lost.length > 0, 'there was load before it was started');
    assert.deepEqual(
      lost.filter(({ start }) => start > first),
      [],
    );
    assert.deepEqual(
      lost.filter(({ error }) => !error.includes('ECONNREFUSED')),
      [],
    );
    assert.equal((await openWorkers(sluice)).length, 2, 'as many as it was scaled to');
  });
});

/** Number of apps that start at the same time: see recover.ts. */
const atATime = Math.max(2, availableParallelism());

test('after a reboot (thorough)', async (t) => {
  const sluice = await startSluice(t);
  // By name those that were used last come last.
  const old = Array.from({ length: atATime }, (_, index) => `app-${index}`);
  const all = [...old, 'switched', 'wrote'];
  const files = (name: string): Files => answering(name, { settleTime: '300ms' });
  for (const name of [...all, 'stopped']) await sluice.deploy(name, files(name));
  await sluice.call('POST', '/v1/apps/stopped/stop');
  await reboot(sluice);
  for (const name of old) await lastUsed(sluice, name, { log: 40, generation: 30 });
  await lastUsed(sluice, 'switched', { log: 50, generation: 2 });
  await lastUsed(sluice, 'wrote', { log: 1, generation: 60 });
  await lastUsed(sluice, 'stopped', { log: 0, generation: 0 });
  await sluice.up();

  await t.test('all apps that ran run again, each with its own release', async () => {
    for (const name of all) await sluice.untilRunning(name);
    for (const name of all) assert.equal(await sluice.get(name), name);
  });

  await t.test('apps with the latest switch or line in the log start first', async () => {
    const starts = all.map(async (name) => {
      const { workers } = await sluice.status(name);
      return { name, at: workers[0]?.startedAt as string };
    });
    const order = (await Promise.all(starts)).sort((a, b) => (a.at < b.at ? -1 : 1));
    const first = order.slice(0, atATime).map(({ name }) => name);
    assert.ok(first.includes('switched') && first.includes('wrote'), first.join(', '));
  });

  await t.test('a stopped app stays stopped', async () => {
    const { state, workers } = await sluice.status('stopped');
    assert.deepEqual([state, workers], ['stopped', []]);
    const tried = (await sluice.log()).filter(({ msg, app }) => msg === 'app started' && app === 'stopped');
    assert.deepEqual(tried, []);
  });
});

test('after a reboot, apps that hang while they boot do not delay the others for long (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const flag = join(sluice.home, 'hang');
  const code = `
    if (require('node:fs').existsSync(${JSON.stringify(flag)})) setInterval(() => {}, 1000);
    else require('node:http').createServer((q, r) => r.end()).listen(process.env.PORT);
  `;
  const hanging = Array.from({ length: atATime }, (_, index) => `hangs-${index}`);
  for (const name of hanging) await sluice.deploy(name, running(code, { bootTimeout: '10m' }));
  const behind = ['one', 'two', 'three'];
  for (const name of behind) await sluice.deploy(name, answering(name));
  await reboot(sluice);
  for (const name of hanging) await lastUsed(sluice, name, { log: 1, generation: 1 });
  for (const name of behind) await lastUsed(sluice, name, { log: 9, generation: 9 });
  await writeFile(flag, '');
  await sluice.up();
  for (const name of behind) await sluice.untilRunning(name);
  for (const name of behind) assert.equal(await sluice.get(name), name);
  for (const name of hanging) {
    const { state, workers } = await sluice.status(name);
    assert.deepEqual([state, workers.map((worker) => worker.state)], ['starting', ['booting']]);
  }
});

function loadOn(t: TestContext, port: number): Load {
  const load = new Load(port, clients);
  t.after(() => load.stop());
  return load;
}

/** Waits until each client has had some answers. */
function flows(load: Load): Promise<unknown> {
  const before = load.answered;
  return waitFor(() => load.answered > before + 5 * clients, { what: 'the load' });
}

async function openWorkers(sluice: Sluice): Promise<number[]> {
  const { workers } = await sluice.status('shop');
  const open = workers.filter(({ state }) => state === 'open');
  return open.map(({ pid }) => pid).sort((a, b) => a - b);
}

async function generations(sluice: Sluice): Promise<[pid: number, generation: number][]> {
  const { workers } = await sluice.status('shop');
  return workers.map(({ pid, generation }) => [pid, generation]);
}

/** Request that the app has received in part. */
class Upload {
  readonly #socket: Socket;
  readonly #closed: Promise<unknown>;
  #answer = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#closed = new Promise((resolve) => socket.once('close', resolve));
    // One that is cut off has no answer: that is what the test looks for.
    socket.on('error', () => undefined);
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#answer += text;
    });
  }

  static async begin(port: number): Promise<Upload> {
    const upload = new Upload(connect(port, '127.0.0.1'));
    upload.#socket.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
    await waitFor(() => upload.#answer.includes('100 Continue'), { what: 'a request in flight' });
    upload.#answer = '';
    return upload;
  }

  /** Sends the rest, and returns all output until the connection ends. */
  async finish(): Promise<string> {
    this.#socket.write('body');
    await this.#closed;
    return this.#answer;
  }
}

async function isRefused(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return false;
  } catch {
    return true;
  } finally {
    socket.destroy();
  }
}

/** Kills the server, the runner and all apps at once. */
async function reboot(sluice: Sluice): Promise<void> {
  const { runner } = await sluice.call<{ runner: { pid: number } }>('GET', '/v1/status');
  await sluice.kill();
  signalProcess(runner.pid, 'SIGKILL');
  const others = await new ProcessRecords(sluice.paths.processes).alive();
  for (const { pid } of others) signalProcess(-pid, 'SIGKILL');
  for (const pid of [runner.pid, ...others.map((other) => other.pid)]) {
    await waitFor(async () => (await processStartTime(pid)) === undefined, { what: `the end of ${pid}` });
  }
}

/** Sets the times of an app's log and last switch to so many minutes ago. */
async function lastUsed(
  sluice: Sluice,
  app: string,
  minutes: { log: number; generation: number },
): Promise<void> {
  const paths = sluice.paths.environment({ app, environment: 'production' });
  const log = join(paths.logs, currentLog);
  await mkdir(paths.logs, { recursive: true });
  await writeFile(log, '', { flag: 'a' });
  for (const [path, ago] of [
    [log, minutes.log],
    [paths.generation, minutes.generation],
  ] as const) {
    const at = new Date(Date.now() - ago * 60_000);
    await utimes(path, at, at);
  }
}
