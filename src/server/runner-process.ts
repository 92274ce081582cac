import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Log } from '../system/log/log.ts';
import type { LogLevel } from '../system/log/log-level.ts';
import { smallHeap } from '../system/process/small-heap.ts';

const entry = fileURLToPath(new URL('../runner/main.ts', import.meta.url));

/** Starts runners: one at a time, in a session of its own, so that it outlives us and Ctrl-C does not reach it. */
export class RunnerProcess {
  readonly #home: string;
  readonly #log: Log;
  readonly #output: number;
  readonly #logLevel: LogLevel;
  #child: ChildProcess | undefined;

  /** @param output file descriptor that its log goes to */
  constructor(home: string, output: number, logLevel: LogLevel, log: Log) {
    this.#home = home;
    this.#output = output;
    this.#logLevel = logLevel;
    this.#log = log;
  }

  /** Starts one, unless one that we started has yet to answer. */
  readonly ensure = (): void => {
    if (this.#child !== undefined) return;
    const { NODE_OPTIONS: _, ...env } = process.env;
    const child = spawn(process.execPath, [...smallHeap, entry], {
      cwd: this.#home,
      env: { ...env, SLUICE_HOME: this.#home, SLUICE_LOG_LEVEL: this.#logLevel },
      stdio: ['ignore', this.#output, this.#output],
      detached: true,
    });
    this.#child = child;
    child.once('error', (error) => this.#gone('error', { error: error.message }));
    child.once('exit', (code, signal) =>
      this.#gone(code === 0 ? 'info' : 'error', { pid: child.pid, code, signal }),
    );
    // It goes on when we end; to us it is a connection, whoever started it.
    child.unref();
  };

  /** Whether one that we started runs. */
  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  #gone(level: LogLevel, how: Record<string, unknown>): void {
    this.#child = undefined;
    this.#log[level]('runner ended', how);
  }
}
