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

export interface BackgroundOptions {
  spec: GenerationSpec;
  background: BackgroundSpec;
  instance: number;
  outputs: Outputs;
  records: ProcessRecords;
  /** whom it runs as, where there are users */
  user(): Identity | undefined;
  group: Cgroup;
  log(message: string): void;
}

interface Running {
  pid: number;
  startedAt: Date;
  since: number;
  figures: ProcessFigures;
  output: ProcessOutput;
  exited: Promise<Exit>;
  /** ends the processes that this process has started, once it is gone; returns a clause for the log if some were killed */
  endRemains(): Promise<string | undefined>;
  /** set once the process got the stop signal, and fulfilled when the process is gone */
  ending?: Promise<string | undefined>;
}

/** A process without a port: started, and started again when it has ended, until it is told to end. */
export class BackgroundProcess {
  readonly #options: BackgroundOptions;
  readonly #restarts: Restarts;
  readonly #stopping = new AbortController();
  readonly #over: Promise<void>;
  #running: Running | undefined;
  #crash: Crash | null = null;
  #state: BackgroundState = 'waiting';

  constructor(options: BackgroundOptions) {
    this.#options = options;
    this.#restarts = new Restarts(options.spec.restarts);
    const release = options.group.retain();
    this.#over = this.#live().finally(release);
  }

  /** Ends it, and waits until it is gone. */
  async end(): Promise<void> {
    this.#stopping.abort();
    if (this.#running !== undefined) this.#state = 'stopping';
    await this.#over;
  }

  /** Looks at what it takes, and ends it where that is too much: two at a time is what these cannot stand. */
  tick(now: number): void {
    const { maxMemory } = this.#options.spec;
    const running = this.#running;
    if (running === undefined) return;
    running.figures.read(now);
    const { memoryBytes } = running.figures;
    if (maxMemory === null || memoryBytes === null || memoryBytes <= maxMemory || this.#state !== 'running')
      return;
    this.#say(
      running,
      `takes ${formatBytes(memoryBytes)} of memory, more than ${formatBytes(maxMemory)} ("maxMemory"), and is started again`,
    );
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
      if (signal.aborted) break;
      if (delay === null) break;
      this.#state = this.#restarts.isCrashing ? 'crashed' : 'waiting';
      await sleep(delay, undefined, { signal, ref: false }).catch(() => undefined);
    }
    this.#state = 'stopped';
  }

  /** @returns ms until it is to be started again; null for never */
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
      const remains = running.endRemains();
      await running.output.end();
      if (signal.aborted) {
        await this.#ended(running, remains);
        return null;
      }
      const lived = performance.now() - running.since;
      const delay = this.#restarts.died(lived, exit);
      const how = `${describeExit(exit)} after ${formatDuration(lived)}`;
      this.#crash = {
        at: new Date().toISOString(),
        message: `${this.#name} ${how}`,
        output: running.output.lastLines(),
      };
      this.#say(running, `${how}; ${this.#restarts.next(delay)}`);
      await this.#ended(running, remains);
      return delay;
    } catch (error) {
      // The engine's message quotes the argument or the variable that it refuses.
      const why = sharedMasker(this.#options.spec.log.secrets).maskText((error as Error).message);
      this.#options.log(`${this.#name} was not started: ${why}`);
      return this.#restarts.died(0, noExit);
    }
  }

  /** Waits until the process and its children are gone, and logs what had to be killed. */
  async #ended(running: Running, remains: Promise<string | undefined>): Promise<void> {
    for (const what of await Promise.all([running.ending, remains])) {
      if (what !== undefined) this.#say(running, what);
    }
  }

  async #start(): Promise<Running> {
    const { spec, background, instance, outputs, records, group } = this.#options;
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
      ...(spec.stopSignal !== null && { SLUICE_STOP_SIGNAL: spec.stopSignal }),
    };
    const child = spawnCaptured(
      output,
      [spec.node, '--require', printing, ...background.nodeArgs, background.script, ...background.args],
      { cwd: spec.directory, env, user },
      [],
      (pid) => {
        group.add(pid);
        const { stopSignal } = spec;
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
      endRemains: async () => {
        try {
          const killed = await endLeftovers({ pid, mark, user }, spec.killTimeout);
          return killed === 0 ? undefined : describeLeftovers(killed, spec.killTimeout);
        } catch (error) {
          return `may have left processes behind: ${describeError(error)}`;
        }
      },
    };
  }

  /** Once: to many a program a second signal means to quit at once. */
  #endNow(running: Running): Promise<string | undefined> {
    const { killTimeout, stopSignal } = this.#options.spec;
    const { pid, exited } = running;
    running.ending ??= endProcess(pid, { signal: stopSignal ?? 'SIGTERM', killTimeout, gone: exited });
    return running.ending;
  }

  get #name(): string {
    return `${this.#options.background.name}.${this.#options.instance}`;
  }

  #say({ output, pid }: Running, what: string): void {
    output.note(`${this.#name} (pid ${pid}) ${what}`);
    this.#options.log(`${this.#name} (pid ${pid}) ${what}`);
  }
}

async function started(child: ChildProcess): Promise<number> {
  if (child.pid !== undefined) return child.pid;
  return new Promise((_, reject) => child.once('error', reject));
}
