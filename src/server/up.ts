import { homedir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createApi } from '../api/app.ts';
import { AuthorizedKeys } from '../api/authorized-keys.ts';
import { KeyStore } from '../api/keys.ts';
import { createSshApi } from '../api/ssh.ts';
import { TokenStore } from '../api/tokens.ts';
import { loadServerSettings } from '../config/load.ts';
import { homeFromEnvironment, Paths } from '../config/paths.ts';
import { checkRunDirectory } from '../config/run-directory.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import { Deployer } from '../deployments/deployer.ts';
import { RunnerClient } from '../deployments/runner-client.ts';
import { AppError } from '../errors/app-error.ts';
import { ensurePrivateDirectory } from '../system/files.ts';
import { tryLock } from '../system/lock.ts';
import { createLog, describeError } from '../system/log.ts';
import { Slots } from '../system/slots.ts';
import { openLog } from './open-log.ts';
import { RunnerProcess } from './runner-process.ts';
import { serveApi } from './serve.ts';
import { shieldApps } from './shield.ts';
import { version } from './version.ts';

/** What `sluice up` says on stdout, with `--json` as JSON, as soon as it can be talked to. */
export interface Ready {
  url: string;
  pid: number;
  home: string;
  version: string;
}

/**
 * `sluice up`: server and runner, in the foreground, until SIGINT or SIGTERM; SIGUSR2 ends both and leaves the apps
 * running, for the next `sluice up` to take over: of another version, maybe.
 * @throws AppError where it cannot start; what ran before goes on
 */
export async function up(home: string, whenReady: (ready: Ready) => void): Promise<void> {
  const stopped = untilTold();
  const paths = new Paths(home);
  await ensurePrivateDirectory(paths.home);
  await ensurePrivateDirectory(paths.run);
  await checkRunDirectory(paths);
  const settings = await loadServerSettings(paths.settings);
  const lock = tryLock(paths.serverLock);
  if (lock === undefined) throw alreadyRunning(paths.home);

  const output = openLog(paths.log);
  const log = createLog(output, 'server', settings.logLevel);
  await shieldApps(paths);
  log.info('starting', { version, pid: process.pid, home: paths.home });
  process.on('uncaughtExceptionMonitor', (error) => log.error('crashed', { error: describeError(error) }));
  await using ending = new AsyncDisposableStack();
  ending.defer(() => {
    log.info('stopped');
    lock.release();
  });

  const runnerProcess = new RunnerProcess(paths.home, output, settings.logLevel, log);
  const runner = new RunnerClient({ path: paths.runnerSocket, log, whenAbsent: runnerProcess.ensure });
  ending.defer(async () => {
    // Where we did not come up, a runner that was there before goes on; one of our own has nothing to do.
    if (runnerProcess.isRunning) await endRunner(runner, 'SIGTERM');
    await runner.close();
  });
  const builds = new Slots(settings.buildConcurrency);
  const deployer = new Deployer({ paths, settings, runner, log, builds, node: process.execPath });
  await deployer.recover();

  const keys = new KeyStore(paths.keys, authorizedKeys(paths, settings));
  await keys.synchronize().catch((error) => log.error('keys not written', { error: describeError(error) }));
  let url = '';
  const tokens = new TokenStore(paths.tokens);
  const shared = { service: deployer, tokens, keys, version, log, url: () => url };
  const runnerNow = async () => (runner.pid === null ? null : { pid: runner.pid });
  const api = (local: boolean) => createApi({ ...shared, local, runner: runnerNow }).callback();
  const ssh = createSshApi({ service: deployer, keys, log }).callback();
  const sockets = { [paths.serverSocket]: api(true), [paths.sshSocket]: ssh };
  ({ url } = ending.use(await serveApi(settings.listen, api(false), sockets)));

  deployer.keepRunning();
  log.info('ready', { url });
  whenReady({ url, pid: process.pid, home: paths.home, version });
  const signal = await stopped;
  log.info('stopping', { signal });
  await deployer.windDown();
  await endRunner(runner, signal);
}

const relay = fileURLToPath(new URL('../relay/ssh.cjs', import.meta.url));

/** The file that sshd reads, and in it the command that carries a push to us. */
function authorizedKeys(paths: Paths, { ssh }: ServerSettings): AuthorizedKeys {
  const path = ssh.authorizedKeys.replace(/^~(?=\/)/, homedir());
  return new AuthorizedKeys(path, paths.home, [process.execPath, relay, paths.sshSocket]);
}

/** Ends all apps, what is in flight first, or leaves them. A runner that is gone has nothing left to end. */
async function endRunner(runner: RunnerClient, signal: NodeJS.Signals): Promise<void> {
  try {
    await (signal === 'SIGUSR2' ? runner.leave() : runner.shutdown());
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'runner_unavailable')) throw error;
  }
}

/** The signal that ends us. The second one ends us at once, whatever is under way. */
function untilTold(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let told = false;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR2'] as const) {
      process.on(signal, () => {
        if (told) process.exit(1);
        told = true;
        resolve(signal);
      });
    }
  });
}

function alreadyRunning(home: string): AppError {
  return new AppError('already_running', `Sluice is up already with the state in ${home}`, {
    hint: '`sluice status` shows what it runs. For a second one, set SLUICE_HOME to another directory.',
  });
}

function sayReady(ready: Ready): void {
  const text = process.argv.includes('--json')
    ? JSON.stringify(ready)
    : `sluice ${ready.version} is up at ${ready.url}; its state and its log are in ${ready.home}`;
  process.stdout.write(`${text}\n`);
}

if (import.meta.main) {
  try {
    await up(homeFromEnvironment(), sayReady);
    process.exit(0);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    process.stderr.write(`sluice: ${error.message}\n${error.hint && `  ${error.hint}\n`}`);
    process.exit(1);
  }
}
