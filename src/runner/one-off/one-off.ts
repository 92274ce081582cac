import type { ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { AppError } from '../../errors/app-error.ts';
import type { AppLogs } from '../../logs/app-logs.ts';
import type { LogOrigin } from '../../logs/line.ts';
import type { CallContext } from '../../protocol/peer.ts';
import type {
  OneOffProgress,
  OneOffResult,
  OneOffSignal,
  OneOffSpec,
  OneOffStatus,
  TerminalSize,
} from '../../protocol/runner.ts';
import { firstOf, withDeadline } from '../../system/concurrency/deadline.ts';
import { needDescriptors } from '../../system/process/descriptors.ts';
import { signalProcess } from '../../system/process/processes.ts';
import { spawn } from '../../system/process/run.ts';
import { formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { describeExit, type Exit, killOnError } from '../exit.ts';
import { describeFailedSearch, describeLeftovers, endLeftovers } from '../jobs/leftovers.ts';
import { jobMark } from '../jobs/marked.ts';
import type { Outputs } from '../output/outputs.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import { type Identity, identityOptions } from '../users/identity.ts';
import { directoryVariable, startIn } from '../users/working-directory.ts';
import type { Connection, Streams } from './connection.ts';
import { logOutput } from './logged-output.ts';
import { openPipes } from './pipes.ts';
import { openTerminal } from './terminal.ts';

/** Time between SIGTERM and SIGKILL for a command that is ended, and for processes that a command leaves, in ms. */
const killTimeout = 5000;
/** Silence after which the output of an ended command counts as complete, in ms: a process that hides may have the pipes open. */
const closeDelay = 1000;

/** Parts of the runner that a one-off command uses. */
export interface OneOffContext {
  records: ProcessRecords;
  outputs: Outputs;
  logs: AppLogs;
  /** user of the command, if apps have users */
  user: Identity | undefined;
  /** cgroup with its limits */
  group: Cgroup;
}

/** One-off command that runs, in a session of its own. It is ended with all processes that it has started, as a job is. */
export class OneOff {
  readonly id = randomBytes(3).toString('hex');
  readonly #spec: OneOffSpec;
  readonly #context: OneOffContext;
  readonly #startedAt = new Date();
  readonly #origin: LogOrigin;
  #streams: Streams = {};
  #pid: number | undefined;
  /** number of chunks of output so far */
  #chunks = 0;
  /** number of chunks that the caller has not taken */
  #untaken = 0;

  constructor(spec: OneOffSpec, context: OneOffContext) {
    this.#spec = spec;
    this.#context = context;
    this.#origin = { release: spec.release, process: `run.${this.id}` };
  }

  status(): OneOffStatus {
    const { key, release, command, by, node, detached } = this.#spec;
    return {
      id: this.id,
      key,
      release,
      command,
      by,
      node,
      detached,
      startedAt: this.#startedAt.toISOString(),
    };
  }

  /**
   * Runs the command to its end.
   * @param signal ends the command: SIGHUP and SIGTERM at once, then SIGKILL
   */
  async run(report: CallContext<OneOffProgress>['report'], signal: AbortSignal): Promise<OneOffResult> {
    signal.throwIfAborted();
    needDescriptors();
    const { records, group } = this.#context;
    const { key, by, command } = this.#spec;
    const start = performance.now();
    const mark = randomUUID();
    const child = await this.#start(mark);
    const exited = exitOf(child);
    const pid = child.pid ?? 0;
    try {
      if (child.pid === undefined) await exited;
      killOnError(pid, () => {
        group.add(pid);
        records.add('job', key, pid, { mark });
      });
      this.#pid = pid;
      void this.#note(`${by} runs: ${command}`);
      void report({ id: this.id });
      const { stdout, stderr } = this.#streams;
      const forwarded = Promise.all([
        this.#forward(stdout, 'stdout', report),
        this.#forward(stderr, 'stderr', report),
      ]);
      await firstOf([exited], [signal]);
      this.#pid = undefined;
      if (signal.aborted) this.#hangUp(pid);
      const left = await this.#endLeftovers(pid, mark);
      // Without /proc, there is no search.
      signalProcess(-pid, 'SIGKILL');
      const exit = await exited;
      const shortage = group.shortages()[0] ?? group.killedBy();
      await firstOf([this.#complete(forwarded)], [signal]);
      await this.#streams.logged?.();
      const durationMs = Math.round(performance.now() - start);
      const ended = { ...exit, ...(exit.signal === 'SIGKILL' && { shortage }) };
      const why = signal.aborted
        ? `${(signal.reason as Error).message}, so Sluice ended the command; it `
        : '';
      await this.#note(`${why}${describeExit(ended)} after ${formatDuration(durationMs)}`);
      if (left > 0 && !signal.aborted) await this.#note(describeLeftovers(left, killTimeout));
      return {
        code: exit.code,
        signal: exit.signal,
        durationMs,
        ...(shortage !== undefined && { shortage }),
      };
    } finally {
      for (const stream of [this.#streams.input, this.#streams.stdout, this.#streams.stderr])
        stream?.destroy();
      this.#streams.hangUp?.();
      if (pid > 0) records.remove(pid);
    }
  }

  /**
   * Writes to the input of the command. Fulfilled when the command can take more, or has closed its input.
   * @throws AppError `bad_request` if the command has not taken the earlier input yet
   */
  write(data: Buffer): Promise<void> {
    const { input } = this.#streams;
    if (input?.writable && input.writableLength > 0)
      throw new AppError('bad_request', 'the command has not taken the earlier input yet');
    const { promise, resolve } = Promise.withResolvers<void>();
    if (input?.writable) input.write(data, () => resolve());
    else resolve();
    return promise;
  }

  endInput(): void {
    // A terminal stays open: its input ends by Ctrl-D.
    if (this.#spec.terminal === null) this.#streams.input?.end();
  }

  /** @throws AppError `bad_request` */
  resize(size: TerminalSize): void {
    this.#streams.resize?.(size);
  }

  /** Sends a signal to the process group of the command. */
  signal(signal: OneOffSignal): void {
    if (this.#pid !== undefined) signalProcess(-this.#pid, signal);
  }

  async #start(mark: string): Promise<ChildProcess> {
    const { argv, directory, workingDirectory, env } = this.#spec;
    const { user } = this.#context;
    using connection = await this.#connect();
    const [program, ...args] = (connection.wrap?.(argv) ?? argv) as [string, ...string[]];
    const options = {
      ...identityOptions(user, {
        ...directoryVariable(directory, workingDirectory),
        ...env,
        [jobMark]: mark,
      }),
      stdio: connection.stdio,
      detached: true,
    };
    const child = startIn(directory, workingDirectory, (cwd) => spawn(program, args, { ...options, cwd }));
    this.#streams = connection.started(child);
    // The command may end before it has read all input.
    this.#streams.input?.on('error', () => undefined);
    return child;
  }

  async #connect(): Promise<Connection> {
    const { terminal, detached, log } = this.#spec;
    const { user, outputs } = this.#context;
    if (terminal !== null) return openTerminal(terminal);
    if (!detached) return openPipes(user);
    return logOutput(await outputs.open(log, this.#origin, user));
  }

  /** Reports output as it arrives. If the caller reads slowly, the command waits. */
  async #forward(
    source: Readable | undefined,
    stream: 'stdout' | 'stderr',
    report: CallContext<OneOffProgress>['report'],
  ): Promise<void> {
    if (source === undefined) return;
    try {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        this.#chunks += 1;
        this.#untaken += 1;
        await report({ stream, data: chunk.toString('base64') });
        this.#untaken -= 1;
      }
    } catch {
      // The command continues if its output cannot be read.
    }
  }

  /** Waits until all output is reported. The caller may take any time. */
  async #complete(forwarded: Promise<unknown>): Promise<void> {
    for (;;) {
      const before = this.#chunks;
      const { timedOut } = await withDeadline(forwarded, closeDelay);
      if (!timedOut || (this.#untaken === 0 && this.#chunks === before)) return;
    }
  }

  /** Does what a terminal that is closed does. */
  #hangUp(pid: number): void {
    this.#streams.hangUp?.();
    signalProcess(-pid, 'SIGHUP');
  }

  /** @returns the number of processes that were killed */
  async #endLeftovers(pid: number, mark: string): Promise<number> {
    const { user } = this.#context;
    try {
      const terminal = await this.#streams.inTerminal;
      return await endLeftovers({ pid, terminal, mark, user }, killTimeout);
    } catch (error) {
      await this.#note(describeFailedSearch(error));
      return 0;
    }
  }

  /** Writes a line about the command into the log of its app. */
  async #note(text: string): Promise<void> {
    const { log } = this.#spec;
    await this.#context.logs.get(log).report(this.#origin, sharedMasker(log.secrets).maskText(text));
  }
}

/** Returns the end of a process. @throws the error of a process that could not be started */
function exitOf(child: ChildProcess): Promise<Exit> {
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  // Handled where it is awaited.
  exited.catch(() => undefined);
  return exited;
}
