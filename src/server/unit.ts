import { homeFromEnvironment } from '../config/paths.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { sayReadyToSystemd } from '../system/process/systemd.ts';
import { asProgram } from './program.ts';
import { run } from './run.ts';

/** How long the machine's start waits for apps, in ms: one that does not come up must not keep it from being done. */
const patience = 60_000;

/**
 * The server as a unit of systemd's, beside that of the runner: it starts none, and ends none when it ends. What it logs
 * goes to stderr, which is the journal's.
 */
async function serve(home: string): Promise<void> {
  let url = '';
  await run(home, {
    openLog: () => process.stderr.fd,
    runnerSide: () => ({
      replaceOthers: true,
      abandon: async () => undefined,
      end: async () => undefined,
    }),
    whenReady: (ready) => {
      url = ready.url;
    },
    async untilSettled(settled, log) {
      if ((await withDeadline(settled, patience)).timedOut) log.warn('apps are slow to start', { patience });
      try {
        await sayReadyToSystemd(`at ${url}`);
      } catch (error) {
        log.error('systemd not told', { error });
      }
    },
  });
}

if (import.meta.main) await asProgram(() => serve(homeFromEnvironment()));
