import { addAbortListener } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AppError } from '../../errors/app-error.ts';
import type {
  BackgroundSpec,
  BackgroundState,
  BackgroundStatus,
  Crash,
  GenerationSpec,
} from '../../protocol/runner.ts';
import { firstOf } from '../../system/concurrency/deadline.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import { AppProcess, type ProcessContext, startProcess } from '../app-process.ts';
import { describeExit, type Exit } from '../exit.ts';
import { Restarts } from '../generation/restarts.ts';
import * as failures from './startup-failure.ts';

const printing = fileURLToPath(new URL('../../worker/printing.cjs', import.meta.url));

interface BackgroundOptions extends ProcessContext {
  background: BackgroundSpec;
  instance: number;
  /** true if the release is not live yet: until `confirm`, the process does not start again after its end */
  isOnTrial: boolean;
}

/** Process without a port. It is started again each time it ends, until `end` is called. */
export class BackgroundProcess {
  readonly #options: BackgroundOptions;
  readonly #name: string;
  readonly #restarts: Restarts;
  readonly #stopping = new AbortController();
  readonly #ended: Promise<void>;
  #running: AppProcess | undefined;
  #crash: Crash | null = null;
  #state: BackgroundState = 'waiting';
  #isOnTrial: boolean;
  readonly #confirmed = Promise.withResolvers<void>();
  readonly #ready = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<() => Promise<AppError>>();

  constructor(options: BackgroundOptions) {
    this.#options = options;
    this.#isOnTrial = options.isOnTrial;
    this.#name = `${options.background.name}.${options.instance}`;
    this.#restarts = new Restarts(options.spec.restarts);
    this.#ended = this.#live().finally(options.group.retain());
  }

  /** Release of the process. */
  get spec(): GenerationSpec {
    return this.#options.spec;
  }

  get name(): string {
    return this.#name;
  }

  /** Fulfilled when the process has failed on trial, with a function that describes the failure. */
  get failed(): Promise<() => Promise<AppError>> {
    return this.#failed.promise;
  }

  /** Fulfilled when the process has been started. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** True if the process runs, or has ended as it should. */
  get isFine(): boolean {
    return this.#state === 'starting' || this.#state === 'running' || this.#state === 'stopped';
  }

  /** True if the process runs, and does not end again and again before `minUptime`. */
  get isUp(): boolean {
    if (this.#state !== 'running' || this.#running === undefined) return false;
    const { minUptime } = this.#options.spec.restarts;
    return !this.#restarts.isCrashing || Date.now() - this.#running.startedAt.getTime() >= minUptime;
  }

  /** Returns true if a process of another release may start while this process runs. */
  mayRunBeside({ background }: GenerationSpec): boolean {
    const { name, overlap } = this.#options.background;
    return overlap && background.some((other) => other.name === name && other.overlap);
  }

  /** Ends the trial: the release of the process is live. */
  confirm(): void {
    if (!this.#isOnTrial) return;
    this.#isOnTrial = false;
    if (this.#state === 'starting') this.#state = 'running';
    this.#confirmed.resolve();
  }

  /** Ends the process, and waits until it is gone. */
  async end(): Promise<void> {
    this.#stopping.abort();
    if (this.#running !== undefined) this.#state = 'stopping';
    await this.#ended;
  }

  /** Measures the process. Ends it if it takes too much memory: two at a time, as for workers, are not allowed here. */
  tick(now: number): void {
    const { maxMemory } = this.#options.spec;
    const running = this.#running;
    if (running === undefined) return;
    running.figures.read(now);
    const { memoryBytes } = running.figures;
    if (maxMemory === null || memoryBytes === null || memoryBytes <= maxMemory || this.#state !== 'running')
      return;
    const limit = `${formatBytes(maxMemory)} ("maxMemory")`;
    running.log(`takes ${formatBytes(memoryBytes)} of memory, more than ${limit}, and is restarted`);
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
      startedAt: running?.startedAt.toISOString() ?? null,
      restarts: this.#restarts.count,
      cpuPercent: running?.figures.cpuPercent ?? null,
      memoryBytes: running?.figures.memoryBytes ?? null,
    };
  }

  async #live(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const delay = await this.#runOnce();
      if (signal.aborted || delay === null) break;
      this.#state = this.#restarts.isCrashing ? 'crashed' : 'waiting';
      await sleep(delay, undefined, { signal, ref: false }).catch(() => undefined);
    }
    this.#state = 'stopped';
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
      this.#ready.resolve();
      using _ = addAbortListener(signal, () => void running.end());
      const exit = await running.exited;
      const lived = performance.now() - start;
      this.#running = undefined;
      this.#state = 'waiting';
      await running.output.end();
      if (this.#isOnTrial && !this.#restarts.isFinal(exit.code))
        await this.#fail(() => failures.ended(running, this.#name, spec, exit));
      const delay = signal.aborted ? null : this.#noteDeath(running, exit, lived);
      await running.gone;
      return delay;
    } catch (error) {
      // The message of Node.js quotes the argument or the variable that it refuses.
      const why = sharedMasker(this.#options.spec.log.secrets).maskText((error as Error).message);
      this.#options.log(`${this.#name} was not started: ${why}`);
      if (this.#isOnTrial) await this.#fail(async () => failures.notStarted(this.#name, why));
      return this.#restarts.noteDeath(0, null);
    }
  }

  /** Reports a failure on trial, and waits for the end of the trial. */
  async #fail(describe: () => Promise<AppError>): Promise<void> {
    this.#failed.resolve(describe);
    await firstOf([this.#confirmed.promise], [this.#stopping.signal]);
  }

  #noteDeath(running: AppProcess, exit: Exit, lived: number): number | null {
    const delay = this.#restarts.noteDeath(lived, exit.code);
    const how = `${describeExit(exit)} after ${formatDuration(lived)}`;
    const output = running.output.lastLines();
    this.#crash = { at: new Date().toISOString(), message: `${this.#name} ${how}`, output };
    running.log(`${how}; ${this.#restarts.describeNext(delay)}`);
    return delay;
  }

  async #start(): Promise<AppProcess> {
    const { spec, background, instance } = this.#options;
    const { stopSignal } = spec;
    const { exec, nodeArgs, script, args } = background;
    const process = await startProcess(this.#options, this.#name, async () => ({
      kind: 'background',
      ...(exec === undefined
        ? { args: ['--require', printing, ...nodeArgs, script, ...args] }
        : { program: '/bin/sh', args: ['-c', exec] }),
      env: {
        ...background.env,
        NODE_APP_INSTANCE: String(instance),
        SLUICE_PROCESS: background.name,
        SLUICE_PRINTING: spec.log.overflow,
        ...(stopSignal !== null && { SLUICE_STOP_SIGNAL: stopSignal }),
      },
      workingDirectory: background.workingDirectory,
      record: { ...(exec !== undefined && { exec: true }), ...(stopSignal !== null && { stopSignal }) },
    }));
    return new AppProcess({ ...process, name: this.#name, isShell: exec !== undefined });
  }
}
