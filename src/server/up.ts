import { statSync, writeFileSync } from 'node:fs';
import type { RunnerClient } from '../apps/runner-client.ts';
import { homeFromEnvironment, type Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import type { Log } from '../system/log/log.ts';
import { asProgram } from './as-program.ts';
import { openLog } from './open-log.ts';
import { type Ready, run } from './run.ts';
import { RunnerProcess } from './runner-process.ts';

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

if (import.meta.main) await asProgram(() => up(homeFromEnvironment(), sayReady));
