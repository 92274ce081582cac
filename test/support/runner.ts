import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { Paths } from '../../src/config/paths.ts';
import { generationLimits } from '../../src/deploy/spec.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { CallClient } from '../../src/protocol/peer.ts';
import type { BootResult, GenerationSpec, RunnerCalls, SwitchResult } from '../../src/protocol/runner.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { smallHeap } from '../../src/system/process/footprint.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { freePort } from './free-port.ts';
import { waitFor } from './wait.ts';

const entry = fileURLToPath(new URL('../../src/runner/main.ts', import.meta.url));
/** Node.js that apps run on; `npm run test:nodes` sets other versions. */
export const appNode = process.env['SLUICE_TEST_APP_NODE'] ?? process.execPath;
export const apps = fileURLToPath(new URL('../fixtures/apps/', import.meta.url));

/** A real runner process in a home of its own, and the connection that the server would have to it. */
export class TestRunner {
  readonly paths: Paths;
  readonly port: number;
  process!: ChildProcess;
  client!: CallClient<RunnerCalls>;
  output = '';
  #mark = 0;

  private constructor(home: string, port: number) {
    this.paths = new Paths(home);
    this.port = port;
  }

  static async start(
    t: Pick<TestContext, 'after'>,
    environment: Record<string, string> = {},
  ): Promise<TestRunner> {
    const runner = new TestRunner(await mkdtemp(join(tmpdir(), 'sluice-test-')), await freePort());
    // In this order: what still runs writes into it.
    t.after(async () => {
      await runner.stop();
      await rm(runner.paths.home, { recursive: true, force: true, maxRetries: 10 });
    });
    await mkdir(runner.paths.environment(target).directory, { recursive: true });
    await runner.launch(environment);
    return runner;
  }

  /** One that is there already, such as that of a unit; it is for whoever has started it to end it. */
  static async attach(home: string): Promise<TestRunner> {
    const runner = new TestRunner(home, await freePort());
    await mkdir(runner.paths.environment(target).directory, { recursive: true });
    await runner.connect();
    return runner;
  }

  /** @param group absolute path of a cgroup that it is started in */
  async launch(environment: Record<string, string> = {}, group?: string): Promise<void> {
    const command = [process.execPath, ...smallHeap, entry];
    const inGroup = ['/bin/sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', group ?? '', ...command];
    const [program = '', ...args] = group === undefined ? command : inGroup;
    const child = spawn(program, args, {
      env: { ...process.env, SLUICE_HOME: this.paths.home, ...environment },
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    this.process = child;
    let ready = false;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
      ready ||= text.includes('"ready"');
    });
    await waitFor(() => ready, { what: 'the runner' });
    await this.connect();
  }

  async connect(): Promise<void> {
    const socket = connect(this.paths.runnerSocket);
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    this.client = new CallClient<RunnerCalls>(
      socket,
      () => new AppError('runner_unavailable', 'the runner is gone'),
    );
  }

  /** Settings as in sluice.json; times are short, since the apps are. */
  spec(script: string, settings: object = {}, environment: Record<string, string> = {}): GenerationSpec {
    const all = v.parse(appSettingsSchema, {
      settleTime: 100,
      bootTimeout: '10s',
      drainTimeout: '2s',
      keepWarm: 0,
      watchTime: 0,
      ...settings,
    });
    const { bootTimeout, settleTime, drainTimeout, killTimeout, health, warmup, waitReady, overlap } = all;
    const { autorestart, maxRestarts, minUptime, restartDelay, restartBackoff, stopExitCodes } = all;
    const { shutdownWithMessage, instanceVar, stuckTimeout, cron, keepWarm } = all;
    const { current, generation, cron: cronPath, logs } = this.paths.environment(target);
    this.#mark += 1;
    return {
      key: target.app,
      release: this.#mark,
      directory: apps,
      node: appNode,
      nodeArgs: [],
      script: join(apps, script),
      args: [],
      env: {
        PATH: process.env['PATH'] ?? '',
        MARK: String(this.#mark),
        PORT: String(this.port),
        ...environment,
      },
      workers: typeof all.workers === 'number' ? all.workers : 2,
      host: '127.0.0.1',
      port: this.port,
      codePort: all.port ?? null,
      health,
      warmup,
      waitReady,
      overlap,
      bootTimeout,
      settleTime,
      drainTimeout,
      keepWarm,
      watchTime: all.watchTime,
      watchLimits: all.watchLimits,
      killTimeout,
      stopSignal: all.stopSignal ?? null,
      affinity: all.affinity === 'client',
      maxDraining: 3,
      ...{ shutdownWithMessage, instanceVar, incrementVar: all.incrementVar ?? null },
      pmId: all.pm2Variables ? 0 : null,
      restarts: {
        ...{ autorestart, maxRestarts, minUptime, stopExitCodes },
        ...{ delay: restartDelay, backoff: restartBackoff },
      },
      maxMemory: all.maxMemory ?? null,
      limits: generationLimits(
        all,
        Array(typeof all.workers === 'number' ? all.workers : 2).fill(all.maxMemory ?? null),
      ),
      stuckTimeout,
      cronRestart: all.cronRestart ?? null,
      background: [],
      cron,
      log: {
        directory: logs,
        size: 10 * 1024 ** 2,
        schedule: '0 0 * * *',
        keep: 14,
        maxBytes: 1024 ** 3,
        overflow: all.logOverflow,
        secrets: [],
      },
      paths: { current, generation, cron: cronPath },
    };
  }

  boot(spec: GenerationSpec, onLine: (line: string) => void = () => undefined): Promise<BootResult> {
    return this.client.call('boot', { spec }, { onProgress: ({ line }) => onLine(line) });
  }

  /** Boots and switches. */
  async release(spec: GenerationSpec): Promise<SwitchResult & BootResult> {
    const booted = await this.boot(spec);
    return {
      ...booted,
      ...(await this.client.call('switch', { key: spec.key, generation: booted.generation })),
    };
  }

  kill(): Promise<void> {
    return this.#signal('SIGKILL');
  }

  /** Ends it and leaves its workers to the next one. */
  leave(): Promise<void> {
    return this.#signal('SIGUSR2');
  }

  async #signal(signal: NodeJS.Signals): Promise<void> {
    const exited = once(this.process, 'exit');
    this.process.kill(signal);
    await exited;
  }

  async stop(): Promise<void> {
    await this.#stop();
    // What it was killed with has outlived it.
    for (const { pid } of await new ProcessRecords(this.paths.processes).alive())
      signalProcess(-pid, 'SIGKILL');
  }

  async #stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.client.close();
    // What does not listen to SIGTERM is given some seconds, of an app and of a job.
    const timer = setTimeout(() => this.process.kill('SIGKILL'), 30_000);
    await this.#signal('SIGTERM');
    clearTimeout(timer);
  }
}

const target = { app: 'shop', environment: 'production' };

/** True if several workers can share a second port on that Node.js. */
export function sharesPorts(): boolean {
  return isAppNodeFrom(22, 12);
}

/** Tells whether apps run on this version of Node.js or a later one. */
export function isAppNodeFrom(major: number, minor: number): boolean {
  const version = execFileSync(appNode, ['--version'], { encoding: 'utf8' });
  const [itsMajor = 0, itsMinor = 0] = version.slice(1).split('.').map(Number);
  return itsMajor > major || (itsMajor === major && itsMinor >= minor);
}
