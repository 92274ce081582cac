import type { ChildProcess } from 'node:child_process';
import { openSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { RunnerClient } from '../apps/runner-client.ts';
import { homeFromEnvironment, type Paths } from '../config/paths.ts';
import { AppError, isRefusedByDisk } from '../errors/app-error.ts';
import type { Log } from '../system/log/log.ts';
import type { LogLevel } from '../system/log/log-level.ts';
import { spawn } from '../system/process/run.ts';
import { smallHeap } from '../system/process/small-heap.ts';
import { asProgram } from './program.ts';
import { type Ready, run } from './run.ts';

export type { Ready } from './run.ts';

/**
 * `sluice up`: server and runner, in the foreground, until SIGINT or SIGTERM; SIGUSR2 ends both and leaves the apps
 * running, for the next `sluice up` to take over: of another version, maybe.
 * @param whenReady said on stdout, with `--json` as JSON, as soon as it can be talked to
 * @throws AppError where it cannot start; what ran before goes on
 */
export async function up(home: string, whenReady: (ready: Ready) => void): Promise<void> {
  await run(home, {
    openLog: ({ log }) => openLog(log),
    runnerSide({ paths, output, settings, log }) {
      noteSupervisor(paths, log);
      const runnerProcess = new RunnerProcess(paths.home, output, settings.logLevel, log);
      // Where the sockets lie in a directory of root's, so is the runner: systemd starts it.
      const isOurs = statSync(paths.run).uid === process.getuid?.();
      return {
        whenAbsent: isOurs ? runnerProcess.ensure : () => undefined,
        async abandon(runner) {
          // One that was there before goes on; one of our own has nothing to do.
          if (runnerProcess.isRunning) await endRunner(runner, 'SIGTERM');
        },
        end: endRunner,
      };
    },
    whenReady,
  });
}

/** Writes the supervisor's process id for `install.sh --local --stop`. A full disk must not keep the server down. */
function noteSupervisor(paths: Paths, log: Log): void {
  const pid = process.env['SLUICE_SUPERVISOR'];
  if (pid === undefined) return;
  try {
    writeFileSync(paths.supervisor, `${pid}\n`, { mode: 0o600 });
  } catch (error) {
    log.warn('process id of the supervisor not written', { error });
  }
}

/** Ends all apps, what is in flight first, or leaves them. A runner that is gone has nothing left to end. */
async function endRunner(runner: RunnerClient, signal: NodeJS.Signals): Promise<void> {
  try {
    await (signal === 'SIGUSR2' ? runner.leave() : runner.shutdown());
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'runner_unavailable')) throw error;
  }
}

function sayReady(ready: Ready): void {
  const text = process.argv.includes('--json')
    ? JSON.stringify(ready)
    : `sluice ${ready.version} is up at ${ready.url}; its state and its log are in ${ready.home}`;
  process.stdout.write(`${text}\n`);
}

const largest = 10 * 1024 ** 2;

/**
 * Opens our own log to append to it; one that is large becomes `sluice.log.1` first, in place of the one before. A
 * runner that is still there from an earlier server goes on writing into that. If the disk refuses to open the log, stderr is
 * the log: a full disk must not keep apps down.
 * @returns its file descriptor
 */
export function openLog(path: string): number {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > largest) setAside(path);
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    if (!isRefusedByDisk(error)) throw error;
    return process.stderr.fd;
  }
}

/** A directory may be beyond us, for example on a full disk; a log that grows on is better than no start. */
function setAside(path: string): void {
  try {
    renameSync(path, `${path}.1`);
  } catch {}
}

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

if (import.meta.main) await asProgram(() => up(homeFromEnvironment(), sayReady));
