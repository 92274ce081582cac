import { addAbortListener, once } from 'node:events';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { AppError } from '../../errors/app-error.ts';
import type {
  BackgroundSpec,
  BackgroundState,
  BackgroundStatus,
  Crash,
  GenerationSpec,
  SupervisionSpec,
} from '../../protocol/runner.ts';
import type { BackgroundBoot } from '../../protocol/worker.ts';
import { firstOf } from '../../system/concurrency/deadline.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import type { Allowance } from '../allowance.ts';
import { type ProcessContext, startProcess } from '../app-process.ts';
import { describeExit, type Exit } from '../exit.ts';
import { Restarts, steadyTime } from '../generation/restarts.ts';
import { instanceVariables } from '../instance-variables.ts';
import { BackgroundHandle } from './background-handle.ts';
import { supervisionOf } from './background-spec.ts';
import * as failures from './startup-failure.ts';

const bootstrap = fileURLToPath(new URL('../../worker/background.cjs', import.meta.url));

/** Descriptor of the socket between a background process and the runner. */
const channelFd = 3;

interface BackgroundOptions extends ProcessContext {
  background: BackgroundSpec;
  instance: number;
  /** true if the release is not live yet: until `confirm`, the process does not start again after its end */
  isOnTrial: boolean;
  /** limit of all messages from the app's processes to the runner */
  allowance: Allowance;
}

/** Process without a port. It is started again each time it ends, until `end` is called. */
export class BackgroundProcess {
  /** release of the process: the one that has started it, or one that would run it in the same way */
  spec: GenerationSpec;
  readonly #options: BackgroundOptions;
  /** that of its release, with the supervision of the process */
  readonly #spec: GenerationSpec & SupervisionSpec;
  readonly #name: string;
  readonly #restarts: Restarts;
  readonly #stopping = new AbortController();
  readonly #ended: Promise<void>;
  #running: BackgroundHandle | undefined;
  /** true if Sluice has ended the process in order to start it again */
  #isRestarting = false;
  /** aborts the wait for the next start, because it is due now */
  #wake = new AbortController();
  #crash: Crash | null = null;
  /** true if its last end was not as it should be */
  #hasFailed = false;
  #state: BackgroundState = 'waiting';
  #isOver = false;
  #isOnTrial: boolean;
  readonly #confirmed = Promise.withResolvers<void>();
  readonly #ready = Promise.withResolvers<void>();
  readonly #hasRun = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<() => Promise<AppError>>();

  constructor(options: BackgroundOptions) {
    this.#options = options;
    this.spec = options.spec;
    this.#isOnTrial = options.isOnTrial;
    this.#name = `${options.background.name}.${options.instance}`;
    this.#spec = { ...options.spec, ...supervisionOf(options.spec, options.background) };
    this.#restarts = new Restarts(this.#spec.restarts);
    this.#ended = this.#live().finally(options.group.retain());
  }

  get name(): string {
    return this.#name;
  }

  /** Fulfilled when the process has failed on trial or was ended, with a function that describes the failure. */
  get failed(): Promise<() => Promise<AppError>> {
    return this.#failed.promise;
  }

  /** Fulfilled when the process has been started and, with `waitReady`, the app has called `process.send('ready')`. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** True if the process is ready only when the app says so. A command has no channel for that. */
  get waitsForReady(): boolean {
    const { spec, background } = this.#options;
    return (background.waitReady ?? spec.waitReady) && background.exec === undefined;
  }

  /** True if the process runs, or has ended as it should. */
  get isFine(): boolean {
    return this.#state === 'starting' || this.#state === 'running' || this.#state === 'stopped';
  }

  /** True if the process has ended as it should not, and has not run for long since. */
  get isFailing(): boolean {
    if (!this.#hasFailed || this.#stopping.signal.aborted) return false;
    return this.upFor() < steadyTime;
  }

  /** Returns the time since the last start, in ms; 0 if the process does not run. */
  upFor(): number {
    return this.#running === undefined ? 0 : Date.now() - this.#running.startedAt.getTime();
  }

  /** Fulfilled when the process has ended for the first time, or could not be started. */
  get hasRun(): Promise<void> {
    return this.#hasRun.promise;
  }

  /** True if the process has ended by itself, and is not started again. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** True if the process runs, and does not end again and again before `minUptime`. */
  get isUp(): boolean {
    if (this.#state !== 'running' || this.#running === undefined) return false;
    const { minUptime } = this.#spec.restarts;
    return !this.#restarts.isCrashing || this.upFor() >= minUptime;
  }

  /** Returns true if a process of another release may start while this process runs. */
  mayRunBeside({ background }: GenerationSpec): boolean {
    const { name, overlap } = this.#options.background;
    return overlap && background.some((other) => other.name === name && other.overlap);
  }

  /** Returns true if the process is not being ended, and a release would run it in the same way. */
  isSameIn(spec: GenerationSpec): boolean {
    const { background, instance } = this.#options;
    const other = spec.background.find(({ name }) => name === background.name);
    if (this.#stopping.signal.aborted || other === undefined || instance >= other.count) return false;
    return isDeepStrictEqual(comparable(this.spec, background), comparable(spec, other));
  }

  /** Ends the trial: the release of the process is live. */
  confirm(): void {
    if (!this.#isOnTrial) return;
    this.#isOnTrial = false;
    if (this.#state === 'starting') this.#state = 'running';
    this.#confirmed.resolve();
  }

  /** Number of descriptors of its channel that the runner has open. */
  get descriptors(): number {
    return this.#running?.hasChannel ? 1 : 0;
  }

  /** Name of the process, without its instance. */
  get kind(): string {
    return this.#options.background.name;
  }

  get instance(): number {
    return this.#options.instance;
  }

  /** Ends the process, and waits until it is gone. */
  async end(): Promise<void> {
    this.#stopping.abort();
    // A switch may wait for the reason of its failure.
    this.#failed.resolve(async () => new AppError('cancelled', `${this.#name} was ended while it started`));
    if (this.#running !== undefined) this.#state = 'stopping';
    await this.#ended;
  }

  /** Measures the process. Ends it if it takes too much memory: two at a time, as for workers, are not allowed here. */
  tick(now: number): void {
    const { maxMemory } = this.#spec;
    const running = this.#running;
    if (running === undefined) return;
    running.figures.read(now);
    const { memoryBytes } = running.figures;
    if (maxMemory === null || memoryBytes === null || memoryBytes <= maxMemory || this.#state !== 'running')
      return;
    const limit = `${formatBytes(maxMemory)} ("maxMemory")`;
    this.#restart(running, `takes ${formatBytes(memoryBytes)} of memory, more than ${limit}`);
  }

  /** Restarts the process, or starts it if it has ended for good. */
  restart(why: string): void {
    const running = this.#running;
    if (running !== undefined && this.#state === 'running') this.#restart(running, why);
    this.#wake.abort();
  }

  #restart(running: BackgroundHandle, why: string): void {
    running.log(`${why}, and is restarted`);
    this.#isRestarting = true;
    this.#state = 'stopping';
    void running.end();
  }

  status(): BackgroundStatus {
    const { spec, background, instance } = this.#options;
    const running = this.#running;
    return {
      name: background.name,
      instance,
      release: spec.release,
      pid: running?.pid ?? null,
      state: this.#state,
      crash: this.#crash,
      failing: this.isFailing,
      startedAt: running?.startedAt.toISOString() ?? null,
      restarts: this.#restarts.count,
      cpuPercent: running?.figures.cpuPercent ?? null,
      memoryBytes: running?.figures.memoryBytes ?? null,
      metrics: running?.metrics.list() ?? [],
    };
  }

  async #live(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const delay = await this.#runOnce();
      this.#hasRun.resolve();
      if (signal.aborted || (delay === null && this.#spec.cronRestart === null)) break;
      if (delay === null) this.#state = 'stopped';
      else this.#state = this.#restarts.isCrashing ? 'crashed' : 'waiting';
      await this.#waitForStart(delay);
    }
    this.#state = 'stopped';
  }

  /** @param delay in ms; null to wait for `restart` */
  async #waitForStart(delay: number | null): Promise<void> {
    this.#wake = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, this.#wake.signal]);
    const wait = delay === null ? once(signal, 'abort') : sleep(delay, undefined, { signal, ref: false });
    await wait.catch(() => undefined);
  }

  /** Starts the process and waits for its end. @returns ms until the next start; null for none */
  async #runOnce(): Promise<number | null> {
    const { spec } = this.#options;
    const { signal } = this.#stopping;
    try {
      const running = await this.#start();
      const start = performance.now();
      this.#running = running;
      this.#state = this.#isOnTrial ? 'starting' : 'running';
      const isReady = Promise.race([running.reported, running.exited]);
      this.#ready.resolve(this.waitsForReady ? isReady.then(() => undefined) : undefined);
      using _ = addAbortListener(signal, () => void running.end());
      const exit = await running.exited;
      const lived = performance.now() - start;
      this.#running = undefined;
      const isFinal = this.#restarts.isFinal(exit.code);
      this.#state = isFinal ? 'stopped' : 'waiting';
      this.#isOver = !signal.aborted && this.#isLast(exit);
      await running.output.end();
      if (this.#isOnTrial && !isFinal)
        await this.#fail(() => failures.ended(running, this.#name, spec, exit));
      const delay = signal.aborted ? null : this.#noteDeath(running, exit, lived);
      await running.gone;
      return delay;
    } catch (error) {
      // The message of Node.js quotes the argument or the variable that it refuses.
      const why = sharedMasker(this.#options.spec.log.secrets).maskText((error as Error).message);
      const message = `${this.#name} was not started: ${why}`;
      this.#options.log(message);
      this.#noteCrash(message, []);
      this.#hasFailed = true;
      if (this.#isOnTrial) await this.#fail(async () => failures.notStarted(this.#name, why));
      return this.#restarts.noteFailedStart();
    }
  }

  /** Reports a failure on trial, and waits for the end of the trial. */
  async #fail(describe: () => Promise<AppError>): Promise<void> {
    this.#failed.resolve(describe);
    await firstOf([this.#confirmed.promise], [this.#stopping.signal]);
  }

  /** Returns true if nothing starts the process again after this end. */
  #isLast({ code }: Exit): boolean {
    return !this.#isRestarting && this.#spec.cronRestart === null && this.#restarts.isLast(code);
  }

  #noteDeath(running: BackgroundHandle, exit: Exit, lived: number): number | null {
    if (this.#isRestarting) {
      this.#isRestarting = false;
      this.#hasFailed = false;
      this.#restarts.replaced();
      return 0;
    }
    const delay = this.#restarts.noteDeath(lived, exit.code);
    const how = `${describeExit(exit)} after ${formatDuration(lived)}`;
    this.#noteCrash(`${this.#name} ${how}`, running.output.lastLines());
    this.#hasFailed = !this.#restarts.isFinal(exit.code);
    running.log(`${how}; ${this.#restarts.describeNext(delay)}`);
    return delay;
  }

  #noteCrash(message: string, output: string[]): void {
    this.#crash = { at: new Date().toISOString(), message, output };
  }

  async #start(): Promise<BackgroundHandle> {
    const { background, instance } = this.#options;
    const { stopSignal, shutdownWithMessage, log, env } = this.#spec;
    const { exec, nodeArgs, script, args } = background;
    const { own, others } = variablesOf(background.env, env);
    const boot: BackgroundBoot = {
      ...{ channelFd, directory: this.#spec.directory, overflow: log.overflow },
      ...{ stopSignal, shutdownWithMessage },
    };
    const start =
      exec === undefined
        ? {
            args: ['--require', bootstrap, ...nodeArgs, script, ...args],
            env: { SLUICE_BACKGROUND: JSON.stringify(boot) },
            stdio: ['pipe' as const],
          }
        : { program: '/bin/sh', args: ['-c', exec] };
    const process = await startProcess(
      { ...this.#options, spec: { ...this.#spec, env: others } },
      this.#name,
      async () => ({
        kind: 'background',
        ...start,
        env: {
          ...own,
          ...start.env,
          ...instanceVariables(this.#spec, instance, { ...others, ...own }),
          SLUICE_PROCESS: background.name,
        },
        workingDirectory: background.workingDirectory,
        record: { ...(exec !== undefined && { exec: true }), ...(stopSignal !== null && { stopSignal }) },
      }),
    );
    const channel = exec === undefined ? (process.child.stdio[channelFd] as Duplex) : undefined;
    const isShell = exec !== undefined;
    return new BackgroundHandle({ ...this.#options, ...process, name: this.#name, isShell, channel });
  }
}

/** Returns what decides how a process runs. */
function comparable(spec: GenerationSpec, background: BackgroundSpec): object {
  const { own, others } = variablesOf(background.env, spec.env);
  // A process keeps its cgroup.
  const {
    keepsBackground: _,
    isProven: _isProven,
    workers: _workers,
    limits: _limits,
    takesPort: _takesPort,
    ...release
  } = spec;
  return { ...release, background: { ...background, env: {} }, env: { ...others, ...own } };
}

/**
 * Returns the variables of a process, and those of its release that it gets. A variable that it does not get is left out of both, so
 * that one of its user, such as HOME, has its usual value.
 */
function variablesOf(env: Record<string, string | null>, ofRelease: Record<string, string>) {
  const own = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== null);
  const others = Object.entries(ofRelease).filter(([name]) => env[name] !== null);
  return { own: Object.fromEntries(own), others: Object.fromEntries(others) };
}
