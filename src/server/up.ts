import type { ChildProcess } from 'node:child_process';
import { openSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { RunnerClient } from '../apps/runner-client.ts';
import { homeFromEnvironment, type Paths } from '../config/paths.ts';
import { AppError, isRefusedByDisk } from '../errors/app-error.ts';
import type { Log, LogLevel } from '../system/log/log.ts';
import { smallHeap } from '../system/process/footprint.ts';
import { spawn } from '../system/process/run.ts';
import { asProgram } from './program.ts';
import { type Ready, type RunnerControl, runServer } from './run-server.ts';

export type { Ready } from './run-server.ts';

/**
 * Runs the server and its runner in the foreground, until SIGINT or SIGTERM. SIGUSR2 ends both and leaves the apps running for the
 * next `sluice up`, which may be of another version.
 * @param whenReady called when the server accepts requests
 * @throws AppError if the server cannot start; apps that run already keep running
 */
export async function up(home: string, whenReady: (ready: Ready) => void): Promise<void> {
  await runServer(home, {
    openLog: ({ log }) => openLog(log),
    controlRunner({ paths, output, settings, log }) {
      writeSupervisor(paths, log);
      return new RunnerProcess(paths, output, settings.logLevel, log);
    },
    whenReady,
  });
}

/** Size of our log from which a start renames it, in bytes. */
const maxLogSize = 10 * 1024 ** 2;

/**
 * Opens our log for appending. A large log is renamed to `sluice.log.1`; a runner of an earlier server keeps writing to that file.
 * If the disk refuses to open the log, stderr is the log, because a full disk must not keep apps down.
 * @returns the file descriptor of the log
 */
export function openLog(path: string): number {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > maxLogSize) {
    // A rename may fail on a full disk. The log then grows, so that the server still starts.
    try {
      renameSync(path, `${path}.1`);
    } catch {}
  }
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    if (!isRefusedByDisk(error)) throw error;
    return process.stderr.fd;
  }
}

/** Writes the supervisor's process id for `install.sh --local --stop`. A full disk must not keep the server down. */
function writeSupervisor(paths: Paths, log: Log): void {
  const pid = process.env['SLUICE_SUPERVISOR'];
  if (pid === undefined) return;
  try {
    writeFileSync(paths.supervisor, `${pid}\n`, { mode: 0o600 });
  } catch (error) {
    log.warn('process id of the supervisor not written', { error });
  }
}

const entry = fileURLToPath(new URL('../runner/main.ts', import.meta.url));

/** Runner that this server starts: one process at a time, in a session of its own, which outlives the server and Ctrl-C. */
class RunnerProcess implements RunnerControl {
  readonly #paths: Paths;
  readonly #log: Log;
  readonly #output: number;
  readonly #logLevel: LogLevel;
  /** false if root owns the directory of the sockets: systemd starts the runner */
  readonly #isOurs: boolean;
  #child: ChildProcess | undefined;

  /** @param output file descriptor of the runner's log */
  constructor(paths: Paths, output: number, logLevel: LogLevel, log: Log) {
    this.#paths = paths;
    this.#output = output;
    this.#logLevel = logLevel;
    this.#isOurs = statSync(paths.run).uid === process.getuid?.();
    this.#log = log;
  }

  start(): void {
    if (this.#child !== undefined || !this.#isOurs) return;
    const { NODE_OPTIONS: _, ...env } = process.env;
    const child = spawn(process.execPath, [...smallHeap, entry], {
      cwd: this.#paths.home,
      env: { ...env, SLUICE_HOME: this.#paths.home, SLUICE_LOG_LEVEL: this.#logLevel },
      stdio: ['ignore', this.#output, this.#output],
      detached: true,
    });
    this.#child = child;
    child.once('error', (error) => this.#ended('error', { error: error.message }));
    child.once('exit', (code, signal) =>
      this.#ended(code === 0 ? 'info' : 'error', { pid: child.pid, code, signal }),
    );
    child.unref();
  }

  async abandon(runner: RunnerClient): Promise<void> {
    // A runner of an earlier server keeps its apps running.
    if (this.#child !== undefined) await this.end(runner, 'SIGTERM');
  }

  /** Ends the runner and all apps after their requests; after SIGUSR2, leaves the apps running. */
  async end(runner: RunnerClient, signal: NodeJS.Signals): Promise<void> {
    try {
      await runner.end(signal === 'SIGUSR2' ? 'leave' : 'shutdown');
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'runner_unavailable')) throw error;
    }
  }

  #ended(level: LogLevel, fields: Record<string, unknown>): void {
    this.#child = undefined;
    this.#log[level]('runner ended', fields);
  }
}

function printReady(ready: Ready): void {
  const text = process.argv.includes('--json')
    ? JSON.stringify(ready)
    : `Sluice ${ready.version} listens at ${ready.url}. Its state and its log are in ${ready.home}.`;
  process.stdout.write(`${text}\n`);
}

// Last, so that all of this module is loaded.
if (import.meta.main) await asProgram(() => up(homeFromEnvironment(), printReady));
