import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { GenerationSpec, LogSpec, SupervisionSpec } from '../protocol/runner.ts';
import { signalProcess } from '../system/process/processes.ts';
import { spawn } from '../system/process/run.ts';
import type { Cgroup } from './cgroups/cgroup.ts';
import { type Exit, endProcess, killOnError, signalOfLeftovers } from './exit.ts';
import { describeFailedSearch, describeLeftovers, endLeftovers } from './jobs/leftovers.ts';
import { jobMark } from './jobs/marked.ts';
import type { Outputs } from './output/outputs.ts';
import type { ProcessOutput } from './output/process-output.ts';
import { ProcessFigures } from './process-figures.ts';
import type { ProcessRecord, ProcessRecords } from './takeover/process-records.ts';
import { type Identity, identityOptions } from './users/identity.ts';
import { directoryVariable, startIn } from './users/working-directory.ts';

/** Parts of the runner that all processes of an environment use. */
export interface EnvironmentContext {
  key: string;
  records: ProcessRecords;
  outputs: Outputs;
  /** returns the user of the processes, if apps have users */
  user(): Identity | undefined;
  log(message: string): void;
}

/** Parts of the runner that all processes of a generation use. */
export interface ProcessContext extends EnvironmentContext {
  spec: GenerationSpec;
  /** cgroup that limits the processes */
  group: Cgroup;
}

export interface StartOptions {
  kind: 'worker' | 'background';
  /** program in place of Node.js */
  program?: string;
  args: string[];
  /** variables besides those of the app */
  env: Record<string, string>;
  /** relative to the release; undefined for the release itself */
  workingDirectory: string | undefined;
  /** descriptors besides stdin, stdout and stderr */
  stdio?: ('pipe' | 'ignore' | number | Socket)[];
  /** fields of the record for the next runner */
  record: Partial<ProcessRecord>;
}

export interface ProcessOptions {
  pid: number;
  /** name in log lines about the process */
  name: string;
  exited: Promise<Exit>;
  /** ends the processes that the process has left running, and returns the number of killed ones */
  endLeftovers(killTimeout: number): Promise<number>;
  output: Pick<ProcessOutput, 'end' | 'note' | 'processEnded' | 'everything' | 'lastLines' | 'isBlocked'>;
  records: Pick<ProcessRecords, 'noteRetired' | 'noteMembers' | 'remove'>;
  spec: Pick<SupervisionSpec, 'stopSignal' | 'shutdownWithMessage' | 'killTimeout'> & {
    log: Pick<LogSpec, 'secrets'>;
  };
  /** true for the shell of an exec worker */
  isShell?: boolean;
  log(message: string): void;
  /** figures of the process, if other processes count, too */
  figures?: ProcessFigures;
  /** sends a signal to a process, or with a negative pid to its session */
  signal?: typeof signalProcess;
}

/**
 * Starts a process of an app in a session of its own, so that Ctrl-C in our terminal does not reach it, captures its output, and
 * records it for the next runner.
 * @param outputName name of the output in the app's log, such as `web.0`
 * @param prepare called immediately before the start
 * @throws the errors of `prepare` and of the system, also if the process cannot be recorded; no process is left then
 */
export async function startProcess<Options extends StartOptions>(
  context: ProcessContext,
  outputName: string,
  prepare: () => Promise<Options>,
): Promise<Options & Omit<ProcessOptions, 'name'> & { child: ChildProcess }> {
  const { spec, group, records } = context;
  const user = context.user();
  const mark = randomUUID();
  const output = await context.outputs.open(spec.log, { release: spec.release, process: outputName }, user);
  using descriptors = new DisposableStack();
  try {
    const options = await prepare();
    const { kind, program = spec.node, args, env, workingDirectory, stdio = [], record } = options;
    const printed = output.open();
    for (const fd of printed) descriptors.adopt(fd, closeSync);
    const spawnOptions = {
      ...identityOptions(user, {
        ...directoryVariable(spec.directory, workingDirectory),
        ...spec.env,
        ...env,
        [jobMark]: mark,
      }),
      stdio: ['ignore' as const, ...printed, ...stdio],
      detached: true,
    };
    const child = startIn(spec.directory, workingDirectory, (cwd) =>
      spawn(program, args, { ...spawnOptions, cwd }),
    );
    const { pid } = child;
    if (pid === undefined) throw (await once(child, 'error'))[0];
    killOnError(pid, () => {
      group.add(pid);
      records.add(kind, spec.key, pid, { mark, ...record });
    });
    output.capture();
    const signal = options.program === undefined ? 'SIGTERM' : signalOfLeftovers(spec.stopSignal);
    const end = (killTimeout: number) => endLeftovers({ pid, mark, user, signal }, killTimeout);
    return { ...context, ...options, child, pid, exited: exitOf(child, group), output, endLeftovers: end };
  } catch (error) {
    output.remove();
    throw error;
  }
}

function exitOf(child: ChildProcess, group: Cgroup): Promise<Exit> {
  // An error precedes an exit.
  child.on('error', () => undefined);
  return new Promise((resolve) => {
    child.on('exit', async (code, signal) => {
      const shortage = signal === 'SIGKILL' ? group.killedBy() : undefined;
      // If the runner is late, the exit may arrive before the last messages. After this turn all of them are read.
      await nextTurn();
      resolve({ code, signal, shortage });
    });
  });
}

/** Process of an app that the runner has started. */
export class AppProcess {
  readonly pid: number;
  readonly startedAt = new Date();
  readonly output: ProcessOptions['output'];
  readonly figures: ProcessFigures;
  readonly exited: Promise<Exit>;
  /** fulfilled when the process and its children are gone */
  readonly gone: Promise<void>;
  alive = true;
  isKilled = false;
  readonly #options: ProcessOptions;
  readonly #signal: typeof signalProcess;
  #stopped: Promise<void> | undefined;

  constructor(options: ProcessOptions) {
    const { pid, output, signal = signalProcess } = options;
    this.#options = options;
    this.#signal = signal;
    this.pid = pid;
    this.output = output;
    this.figures = options.figures ?? new ProcessFigures(pid);
    this.exited = options.exited.then((exit) => {
      this.noteExit(exit);
      return exit;
    });
    this.gone = this.exited.then(() => this.#endLeftovers());
  }

  protected noteExit(_exit: Exit): void {
    this.alive = false;
    this.#options.records.remove(this.pid);
    void this.output.processEnded();
  }

  /** Sends the process the message `'shutdown'`. @returns false if the process has no channel */
  protected postShutdown(): boolean {
    return false;
  }

  /** Sends the stop signal or the message, once, and SIGKILL to the whole session after `killTimeout`. Fulfilled when the process is gone. */
  async end(): Promise<void> {
    if (this.alive) this.#stopped ??= this.#stop();
    await this.#stopped;
    await this.gone;
  }

  async #stop(): Promise<void> {
    const { isShell, spec } = this.#options;
    const { killTimeout, stopSignal, shutdownWithMessage } = spec;
    const options = {
      ...{ signal: stopSignal ?? 'SIGTERM', isShell, killTimeout, gone: this.exited },
      postShutdown: () => shutdownWithMessage && this.postShutdown(),
    };
    const why = await endProcess(this.pid, options, this.#signal);
    if (why !== undefined) await this.#logEnd(why);
  }

  /** Kills the process and its session. */
  kill(): void {
    this.isKilled = true;
    if (this.alive) this.#signal(-this.pid, 'SIGKILL');
  }

  async #endLeftovers(): Promise<void> {
    const { spec, endLeftovers } = this.#options;
    try {
      const killed = await endLeftovers(this.isKilled ? 0 : spec.killTimeout);
      if (killed > 0 && !this.isKilled) await this.#logEnd(describeLeftovers(killed, spec.killTimeout));
    } catch (error) {
      await this.#logEnd(describeFailedSearch(error));
    }
  }

  /** Logs a line about the end of the process, after its own last lines. */
  async #logEnd(text: string): Promise<void> {
    await this.output.end();
    this.log(text);
  }

  /** Adds a line about the process to the app's log and the runner's. */
  log(text: string): void {
    const line = `${this.#options.name} (pid ${this.pid}) ${text}`;
    this.output.note(line);
    this.#options.log(line);
  }
}
