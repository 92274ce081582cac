import type { ChildProcess } from 'node:child_process';
import { openSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { chmod, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { RunnerClient } from '../apps/runner-client.ts';
import { homeFromEnvironment, type Paths } from '../config/paths.ts';
import { AppError, isRefusedByDisk } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import type { Log, LogLevel } from '../system/log/log.ts';
import { smallHeap } from '../system/process/footprint.ts';
import { spawn } from '../system/process/run.ts';
import { asProgram } from './program.ts';
import { type Ready, type RunnerContext, type RunnerControl, runServer } from './run-server.ts';

export type { Ready } from './run-server.ts';

/**
 * Runs the server and its runner in the foreground, until SIGINT or SIGTERM. SIGUSR2 ends both and leaves the apps running for the
 * next `sluice up`, which may be of another version.
 * @param whenReady called when the server accepts requests
 * @returns the exit status
 * @throws AppError if the server cannot start; apps that run already keep running
 */
export async function up(home: string, whenReady: (ready: Ready) => void): Promise<number> {
  await takeHome(home);
  return runServer(home, {
    openLog: ({ log }) => openLog(log),
    controlRunner(context) {
      writeSupervisor(context.paths, context.log);
      return controlRunner(context);
    },
    whenReady,
  });
}

/** Makes a home private that the user has just created, with a mode that depends on the umask. Leaves all other directories alone. */
export async function takeHome(home: string): Promise<void> {
  const stats = await ifThere(stat(home));
  if (stats?.uid !== process.getuid?.()) return;
  if ((await listDirectory(home)).length === 0) await ifThere(chmod(home, 0o700));
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

/** Controls a runner that this server starts: one process at a time, in a session of its own, which outlives the server and Ctrl-C. */
function controlRunner({ paths, output, settings, log }: RunnerContext): RunnerControl {
  // If root owns the directory of the sockets, systemd starts the runner.
  const isOurs = statSync(paths.run).uid === process.getuid?.();
  let child: ChildProcess | undefined;
  const ended = (level: LogLevel, fields: Record<string, unknown>) => {
    child = undefined;
    log[level]('runner ended', fields);
  };
  const end = async (runner: RunnerClient, signal: NodeJS.Signals) => {
    try {
      await runner.end(signal === 'SIGUSR2' ? 'leave' : 'shutdown');
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'runner_unavailable')) throw error;
    }
  };
  return {
    end,
    start() {
      if (child !== undefined || !isOurs) return;
      const { NODE_OPTIONS: _, ...env } = process.env;
      const started = spawn(process.execPath, [...smallHeap, entry], {
        cwd: paths.home,
        env: { ...env, SLUICE_HOME: paths.home, SLUICE_LOG_LEVEL: settings.logLevel },
        stdio: ['ignore', output, output],
        detached: true,
      });
      child = started;
      started.once('error', (error) => ended('error', { error: error.message }));
      started.once('exit', (code, signal) =>
        ended(code === 0 ? 'info' : 'error', { pid: started.pid, code, signal }),
      );
      started.unref();
    },
    async abandon(runner) {
      // A runner of an earlier server keeps its apps running.
      if (child !== undefined) await end(runner, 'SIGTERM');
    },
  };
}

function printReady(ready: Ready): void {
  const text = process.argv.includes('--json')
    ? JSON.stringify(ready)
    : `Sluice ${ready.version} listens at ${ready.url}. Its state and its log are in ${ready.home}.`;
  process.stdout.write(`${text}\n`);
}

// Last, so that all of this module is loaded.
if (import.meta.main) await asProgram(() => up(homeFromEnvironment(), printReady));
