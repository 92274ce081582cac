import { addAbortListener } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { BackgroundSpec, BackgroundState, BackgroundStatus, Crash } from '../../protocol/runner.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import { AppProcess, type ProcessContext, startProcess } from '../app-process.ts';
import { describeExit, type Exit } from '../exit.ts';
import { Restarts } from '../generation/restarts.ts';

const printing = fileURLToPath(new URL('../../worker/printing.cjs', import.meta.url));

interface BackgroundOptions extends ProcessContext {
  background: BackgroundSpec;
  instance: number;
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

  constructor(options: BackgroundOptions) {
    this.#options = options;
    this.#name = `${options.background.name}.${options.instance}`;
    this.#restarts = new Restarts(options.spec.restarts);
    this.#ended = this.#live().finally(options.group.retain());
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
    const { signal } = this.#stopping;
    try {
      const running = await this.#start();
      const start = performance.now();
      this.#running = running;
      this.#state = 'running';
      using _ = addAbortListener(signal, () => void running.end());
      const exit = await running.exited;
      const lived = performance.now() - start;
      this.#running = undefined;
      this.#state = 'waiting';
      await running.output.end();
      const delay = signal.aborted ? null : this.#noteDeath(running, exit, lived);
      await running.gone;
      return delay;
    } catch (error) {
      // The message of Node.js quotes the argument or the variable that it refuses.
      const why = sharedMasker(this.#options.spec.log.secrets).maskText((error as Error).message);
      this.#options.log(`${this.#name} was not started: ${why}`);
      return this.#restarts.noteDeath(0, null);
    }
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
