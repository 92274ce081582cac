import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type {
  BackgroundSpec,
  BackgroundState,
  BackgroundStatus,
  Crash,
  GenerationSpec,
} from '../../protocol/runner.ts';
import { describeError } from '../../system/log/log.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { describeExit, type Exit, endProcess, noExit } from '../exit.ts';
import { Restarts } from '../generation/restarts.ts';
import { describeLeftovers, endLeftovers, jobMark } from '../jobs/leftovers.ts';
import type { Outputs } from '../output/outputs.ts';
import type { ProcessOutput } from '../output/process-output.ts';
import { spawnCaptured } from '../output/spawn-captured.ts';
import { ProcessFigures } from '../process-figures.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';

const printing = fileURLToPath(new URL('../../worker/printing.cjs', import.meta.url));

/** Options that all background processes of an environment share. */
export interface EnvironmentOptions {
  key: string;
  outputs: Outputs;
  records: ProcessRecords;
  /** returns the user of the process, if apps have users */
  user(): Identity | undefined;
  log(message: string): void;
}

interface BackgroundOptions extends EnvironmentOptions {
  spec: GenerationSpec;
  background: BackgroundSpec;
  instance: number;
  group: Cgroup;
}

interface Running {
  pid: number;
  startedAt: Date;
  /** time of the start, on a clock that only goes forward */
  since: number;
  figures: ProcessFigures;
  output: ProcessOutput;
  exited: Promise<Exit>;
  /** ends the leftovers of this process once it is gone; returns a clause for the log if some were killed */
  endLeftovers(): Promise<string | undefined>;
  /** set once the process got the stop signal; fulfilled when the process is gone, with a clause if it was killed */
  ending?: Promise<string | undefined>;
}

/** Process without a port. It is started again each time it ends, until `end` is called. */
export class BackgroundProcess {
  readonly #options: BackgroundOptions;
  readonly #name: string;
  readonly #restarts: Restarts;
  readonly #stopping = new AbortController();
  readonly #ended: Promise<void>;
  #running: Running | undefined;
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
    this.#log(running, `takes ${formatBytes(memoryBytes)} of memory, more than ${limit}, and is restarted`);
    this.#state = 'stopping';
    void this.#endNow(running);
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
      this.#running = running;
      this.#state = 'running';
      const end = () => void this.#endNow(running);
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
      const exit = await running.exited;
      signal.removeEventListener('abort', end);
      this.#running = undefined;
      this.#state = 'waiting';
      const leftovers = running.endLeftovers();
      await running.output.end();
      const delay = signal.aborted ? null : this.#noteDeath(running, exit);
      for (const killed of await Promise.all([running.ending, leftovers]))
        if (killed !== undefined) this.#log(running, killed);
      return delay;
    } catch (error) {
      // The message of Node.js quotes the argument or the variable that it refuses.
      const why = sharedMasker(this.#options.spec.log.secrets).maskText((error as Error).message);
      this.#options.log(`${this.#name} was not started: ${why}`);
      return this.#restarts.noteDeath(0, noExit);
    }
  }

  #noteDeath(running: Running, exit: Exit): number | null {
    const lived = performance.now() - running.since;
    const delay = this.#restarts.noteDeath(lived, exit);
    const how = `${describeExit(exit)} after ${formatDuration(lived)}`;
    const output = running.output.lastLines();
    this.#crash = { at: new Date().toISOString(), message: `${this.#name} ${how}`, output };
    this.#log(running, `${how}; ${this.#restarts.describeNext(delay)}`);
    return delay;
  }

  async #start(): Promise<Running> {
    const { spec, background, instance, outputs, records, group } = this.#options;
    const { stopSignal, killTimeout } = spec;
    const user = this.#options.user();
    const output = await outputs.open(spec.log, { release: spec.release, process: this.#name }, user);
    const mark = randomUUID();
    const env = {
      ...spec.env,
      ...background.env,
      [jobMark]: mark,
      NODE_APP_INSTANCE: String(instance),
      SLUICE_PROCESS: background.name,
      SLUICE_PRINTING: spec.log.overflow,
      ...(stopSignal !== null && { SLUICE_STOP_SIGNAL: stopSignal }),
    };
    const child = spawnCaptured(
      output,
      [spec.node, '--require', printing, ...background.nodeArgs, background.script, ...background.args],
      { cwd: spec.directory, env, user },
      [],
      (pid) => {
        group.add(pid);
        records.add('background', spec.key, pid, { mark, ...(stopSignal !== null && { stopSignal }) });
      },
    );
    const pid = await started(child);
    const exited = new Promise<Exit>((resolve) => {
      child.once('exit', (code, signal) => {
        records.remove(pid);
        void output.processEnded();
        resolve({ code, signal, shortage: signal === 'SIGKILL' ? group.killedBy() : undefined });
      });
    });
    return {
      pid,
      startedAt: new Date(),
      since: performance.now(),
      figures: new ProcessFigures(pid),
      output,
      exited,
      endLeftovers: async () => {
        try {
          const killed = await endLeftovers({ pid, mark, user }, killTimeout);
          return killed === 0 ? undefined : describeLeftovers(killed, killTimeout);
        } catch (error) {
          return `may have left processes running: ${describeError(error)}`;
        }
      },
    };
  }

  /** Sends the stop signal once: many programs quit at once after a second signal. */
  #endNow(running: Running): Promise<string | undefined> {
    const { killTimeout, stopSignal } = this.#options.spec;
    const { pid, exited } = running;
    running.ending ??= endProcess(pid, { signal: stopSignal ?? 'SIGTERM', killTimeout, gone: exited });
    return running.ending;
  }

  /** Logs a line about the process, in the log of the app and in our own. */
  #log({ output, pid }: Running, text: string): void {
    output.note(`${this.#name} (pid ${pid}) ${text}`);
    this.#options.log(`${this.#name} (pid ${pid}) ${text}`);
  }
}

/** Returns the pid of a process. @throws the error of the system if the process was not started */
async function started(child: ChildProcess): Promise<number> {
  if (child.pid !== undefined) return child.pid;
  return new Promise((_, reject) => child.once('error', reject));
}
