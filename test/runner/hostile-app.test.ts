import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EnvironmentStatus, GenerationSpec } from '../../src/protocol/runner.ts';
import { Inspector } from '../soak/inspector.ts';
import { freePort } from '../support/free-port.ts';
import { computing, fatal, hostileApp, lasting } from '../support/hostile.ts';
import { fetchText, keepAliveAgent } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

/** Seconds of each kind of time while a neighbour is measured. */
const chosen = process.env['SLUICE_TEST_HOSTILE_SECONDS'];
const seconds = Number(chosen ?? 4);
/** Limit of the growth of the runner over all attacks, in bytes: compiled code, and pages that malloc does not free. */
const noise = 16 * 1024 ** 2;
/**
 * How slow the slowest requests may be while there are attacks: so many times as slow as without, or so many ms slower.
 * Other test files share the machine in `npm test`, which finds a runner that stands still for long; a measurement is
 * for whoever chooses its time.
 */
const tolerance = chosen === undefined ? { times: 10, hiccup: 100 } : { times: 2, hiccup: 10 };

/** Starts a runner with a neighbour app and an app that attacks. */
class Battlefield implements Disposable {
  readonly runner: TestRunner;
  readonly port: number;
  readonly #specs: () => GenerationSpec;
  readonly #inspector: Inspector;

  private constructor(runner: TestRunner, port: number, specs: () => GenerationSpec, inspector: Inspector) {
    this.runner = runner;
    this.port = port;
    this.#specs = specs;
    this.#inspector = inspector;
  }

  static async create(runner: TestRunner): Promise<Battlefield> {
    const port = await freePort();
    const paths = runner.paths.environment({ app: 'evil', environment: 'production' });
    await mkdir(paths.directory, { recursive: true });
    const script = join(paths.directory, 'server.js');
    await writeFile(script, hostileApp);
    const specs = () => {
      const settings = { workers: 1, minUptime: 0, restartDelay: 10, killTimeout: 500 };
      const spec = runner.spec('plain.cjs', settings, { PORT: String(port) });
      const { current, generation, cron } = paths;
      const log = { ...spec.log, directory: paths.logs };
      return { ...spec, key: 'evil', port, script, log, paths: { current, generation, cron } };
    };
    const inspector = await Inspector.attach(runner.process.pid as number);
    return new Battlefield(runner, port, specs, inspector);
  }

  release(): Promise<unknown> {
    return this.runner.release(this.#specs());
  }

  async status(key: string): Promise<EnvironmentStatus> {
    const found = (await this.runner.client.call('status', {})).find((target) => target.key === key);
    assert.ok(found, `${key} runs`);
    return found;
  }

  async pid(): Promise<number | undefined> {
    return (await this.status('evil')).workers.find(({ state }) => state === 'open')?.pid;
  }

  /** Returns the result of the code; undefined if the app had no time to answer. */
  async run(code: string): Promise<string | undefined> {
    const body = { method: 'POST', body: code, headers: { connection: 'close' } };
    return fetch(`http://127.0.0.1:${this.port}/`, body).then(
      (response) => response.text(),
      () => undefined,
    );
  }

  /** Descriptors of the runner, without one of the app's log: the first line that is written opens it. */
  async descriptors(): Promise<number> {
    const directory = `/proc/${this.runner.process.pid}/fd`;
    // One may be closed between the two looks.
    const names = await readdir(directory);
    const found = await Promise.all(names.map((name) => readlink(join(directory, name)).catch(() => '')));
    const { logs } = this.runner.paths.environment({ app: 'evil', environment: 'production' });
    const ofLog = found.filter((link) => link === join(logs, 'app.log')).length;
    return found.filter((link) => link !== '').length - Math.min(ofLog, 1);
  }

  /** Resident memory of the runner, in bytes, without its garbage: an idle process keeps garbage for minutes. */
  async memory(): Promise<number> {
    await this.#inspector.held();
    const status = await readFile(`/proc/${this.runner.process.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  /** CPU time of the runner so far, in ms. */
  async cpuTime(): Promise<number> {
    const stat = await readFile(`/proc/${this.runner.process.pid}/stat`, 'utf8');
    const [user, system] = stat
      .replace(/^.*\) /, '')
      .split(' ')
      .slice(11);
    // The kernel counts in hundredths of a second.
    return (Number(user) + Number(system)) * 10;
  }

  /** Before the end of the runner, which would wait for its inspector to be left. */
  [Symbol.dispose](): void {
    this.#inspector[Symbol.dispose]();
  }
}

test('an app that attacks the runner harms only itself (thorough)', {
  timeout: 240_000 + seconds * 8000,
}, async (t) => {
  const runner = await TestRunner.start(t, {
    NODE_OPTIONS: '--inspect=127.0.0.1:0',
    // Else each thread keeps freed memory for itself.
    MALLOC_ARENA_MAX: '1',
  });
  await runner.release(runner.spec('plain.cjs', { workers: 1 }, { KEEP_ALIVE_TIMEOUT: '60000' }));
  using field = await Battlefield.create(runner);
  const [neighbour] = (await field.status('shop')).workers;
  await field.release();
  await runner.client.call('stop', { key: 'evil' });
  const without = await field.descriptors();
  await field.release();
  const before = { descriptors: await field.descriptors(), memory: await field.memory() };
  const isLevel = async () =>
    (await field.descriptors()) <= before.descriptors && (await field.memory()) <= before.memory + noise;
  const describe = async () =>
    `${await field.descriptors()} descriptors (before: ${before.descriptors}), ${Math.round((await field.memory()) / 2 ** 20)} MB (${Math.round(before.memory / 2 ** 20)})`;
  const untilLevel = () =>
    waitFor(isLevel, { what: 'the former use of the runner' }).catch(async (error) =>
      assert.fail(`${error.message}: ${await describe()}`),
    );

  for (const [name, code] of Object.entries(fatal)) {
    await t.test(`by ${name}`, async () => {
      const pid = await waitFor(() => field.pid(), { what: 'the app' });
      await field.run(code);
      await waitFor(async () => ((await field.pid()) ?? pid) !== pid, { what: 'another worker' });
      await untilLevel();
    });
  }
  await field.release();
  await waitFor(async () => (await field.status('evil')).workers.length === 1);

  for (const [name, code] of Object.entries(lasting(1500))) {
    await t.test(`by ${name}`, async () => {
      const pid = await waitFor(() => field.pid(), { what: 'the app' });
      assert.equal(await field.run(code), 'done');
      assert.equal(await field.pid(), pid, 'the worker lives');
      await untilLevel();
    });
  }

  await t.test('a neighbour answers as fast as before', async (t) => {
    const round = 1000;
    const attacks = lasting(round);
    const all = (codes: string[]) => Promise.all(codes.map((code) => field.run(code)));
    const phases: Record<string, Phase> = {
      quiet: new Phase(() => sleep(round)),
      // What the scheduler of the kernel makes of an app that takes what it can get.
      'next to an app that computes': new Phase(() => field.run(computing(round))),
      attacked: new Phase(() => all(Object.values(attacks))),
      // The worker dies of it, and the runner starts the next one.
      'attacked on each descriptor': new Phase(async () => {
        const over = performance.now() + round;
        while (performance.now() < over) await field.run(fatal['random bytes on each descriptor'] as string);
      }),
    };
    const visitors = new Visitors(runner.port);
    for (let count = 0; count < seconds; count += 1) {
      // The pause before a restart grows with each death in a row. A new release resets the pause.
      await field.release();
      for (const phase of Object.values(phases)) await phase.once(visitors, () => field.cpuTime());
    }
    visitors.stop();
    t.diagnostic(
      `${visitors.answered} requests of a neighbour; p99 of a second, and what the runner took of a processor:`,
    );
    for (const [name, phase] of Object.entries(phases)) t.diagnostic(`${name}: ${phase.describe()}`);
    assert.deepEqual(visitors.errors, []);
    assert.ok(visitors.answered > 20 * seconds, `${visitors.answered} requests`);
    const { quiet, attacked } = phases as Record<'quiet' | 'attacked', Phase>;
    const limit = Math.max(tolerance.times * quiet.p99, quiet.p99 + tolerance.hiccup);
    assert.ok(attacked.p99 <= limit, `${attacked.p99} ms instead of ${quiet.p99} ms`);
  });

  await untilLevel();
  t.diagnostic(await describe());
  assert.equal(runner.process.exitCode, null);
  assert.equal(runner.process.signalCode, null);
  assert.equal((await field.status('shop')).workers[0]?.pid, neighbour?.pid);
  // All that an app made the runner hold goes with the app.
  await runner.client.call('stop', { key: 'evil' });
  await waitFor(async () => (await field.descriptors()) <= without, { what: 'the end of all descriptors' });
});

/** A kind of time, while neighbours are measured. */
class Phase {
  readonly #act: () => Promise<unknown>;
  readonly #slowest: number[] = [];
  #cpu = 0;
  #time = 0;

  constructor(act: () => Promise<unknown>) {
    this.#act = act;
  }

  /** @param cpuTime of the runner so far, in ms */
  async once(visitors: Visitors, cpuTime: () => Promise<number>): Promise<void> {
    const [cpu, start] = [await cpuTime(), performance.now()];
    this.#slowest.push(await visitors.slowest(this.#act()));
    this.#cpu += (await cpuTime()) - cpu;
    this.#time += performance.now() - start;
  }

  get p99(): number {
    return this.#slowest.toSorted((a, b) => a - b)[Math.floor(this.#slowest.length / 2)] ?? Number.NaN;
  }

  describe(): string {
    return `${this.p99.toFixed(1)} ms, ${Math.round((100 * this.#cpu) / this.#time)} %`;
  }
}

/** Clients of the neighbour: each asks again 4 ms after its last answer, so that the machine is not full. */
class Visitors {
  readonly errors: string[] = [];
  answered = 0;
  #times: number[] = [];
  #stopped = false;
  readonly #agents = Array.from({ length: 4 }, () => keepAliveAgent());

  constructor(port: number) {
    for (const agent of this.#agents) void this.#visit(port, agent);
  }

  /** @returns the 99th percentile of the requests that end until `over`, in ms */
  async slowest(over: Promise<unknown>): Promise<number> {
    this.#times = [];
    await over;
    const times = this.#times.toSorted((a, b) => a - b);
    return times[Math.floor(times.length * 0.99)] ?? Number.POSITIVE_INFINITY;
  }

  stop(): void {
    this.#stopped = true;
    for (const agent of this.#agents) agent.destroy();
  }

  async #visit(port: number, agent: ReturnType<typeof keepAliveAgent>): Promise<void> {
    while (!this.#stopped) {
      const start = performance.now();
      try {
        assert.equal((await fetchText(port, '/', { agent })).body, '1');
        this.answered += 1;
        this.#times.push(performance.now() - start);
      } catch (error) {
        if (!this.#stopped) this.errors.push(String(error));
      }
      await sleep(4);
    }
  }
}
