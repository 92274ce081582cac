import { homeFromEnvironment } from '../config/paths.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import type { Log } from '../system/log/log.ts';
import { notifySystemd } from '../system/process/systemd.ts';
import { asProgram } from './program.ts';
import { type Ready, runServer } from './run-server.ts';

/** Time that the start of the machine waits for apps, in ms. */
const startTimeout = 60_000;

/** Runs the server as a unit of systemd. The runner has its own unit. The log goes to stderr, which systemd stores in its journal. */
function runUnit(home: string): Promise<number> {
  return runServer(home, { openLog: () => process.stderr.fd, whenReady: reportReady });
}

async function reportReady({ url }: Ready, settled: Promise<void>, log: Log): Promise<void> {
  if ((await withDeadline(settled, startTimeout)).timedOut)
    log.warn('apps are slow to start', { startTimeout });
  try {
    await notifySystemd(`at ${url}`);
  } catch (error) {
    log.error('systemd not notified', { error });
  }
}

if (import.meta.main) await asProgram(() => runUnit(homeFromEnvironment()));
