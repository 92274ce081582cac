import manifest from '../../package.json' with { type: 'json' };
import { createApi } from '../api/app.ts';
import { placeOfPushes } from '../api/auth/authorized-keys.ts';
import { KeyStore } from '../api/auth/keys.ts';
import { TokenStore } from '../api/auth/tokens.ts';
import { createSshApi } from '../api/git/ssh.ts';
import { AssignedPorts } from '../apps/assigned-ports.ts';
import { recordEvent } from '../apps/history.ts';
import { RunnerClient } from '../apps/runner-client.ts';
import { checkRunDirectory, Paths } from '../config/paths.ts';
import { loadServerSettings, type ServerSettings } from '../config/server-settings.ts';
import { Edge } from '../edge/edge.ts';
import { AppError } from '../errors/app-error.ts';
import type { PortAddress } from '../protocol/runner.ts';
import type { LoggedEvent } from '../releases/events-log.ts';
import { AppService } from '../service/app-service.ts';
import { MoveLock } from '../system/concurrency/move-lock.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { ensurePrivateDirectory } from '../system/fs/files.ts';
import { tryLock } from '../system/fs/lock.ts';
import { createLog, describeError, type Log } from '../system/log/log.ts';
import { fromUrlHost, isLoopback, toUrlHost } from '../system/net/address.ts';
import { takePassedSockets } from '../system/process/systemd.ts';
import { exitStatus } from './program.ts';
import { serveApi } from './serve.ts';
import { shieldApps } from './shield.ts';

/** What can be said as soon as the server can be talked to. */
export interface Ready {
  url: string;
  pid: number;
  home: string;
  version: string;
}

/** What the server has to do with the process of the runner: something where it has started it, else little. */
interface RunnerSide {
  whenAbsent?: () => void;
  replaceOthers?: boolean;
  /** where we did not come up */
  abandon(runner: RunnerClient): Promise<void>;
  /** when we were told to stop */
  end(runner: RunnerClient, signal: NodeJS.Signals): Promise<void>;
}

/** How `sluice up` and the server of a system-wide install differ. */
interface Surroundings {
  /** @returns the file descriptor that our own log goes to */
  openLog(paths: Paths): number;
  runnerSide(context: { paths: Paths; output: number; settings: ServerSettings; log: Log }): RunnerSide;
  whenReady(ready: Ready): void;
  /** @param settled when all apps that should run do, or have failed to start once */
  untilSettled?(settled: Promise<void>, log: Log): Promise<void>;
}

/**
 * The server, until SIGINT, SIGTERM or SIGUSR2.
 * @throws AppError where it cannot start; what ran before goes on
 */
export async function run(home: string, surroundings: Surroundings): Promise<void> {
  const stopped = untilTold();
  const paths = new Paths(home);
  await ensurePrivateDirectory(paths.home);
  await ensurePrivateDirectory(paths.run);
  await checkRunDirectory(paths);
  const settings = await loadServerSettings(paths.settings);
  const lock = tryLock(paths.serverLock);
  if (lock === undefined) throw alreadyRunning(paths.home);

  const output = surroundings.openLog(paths);
  const log = createLog(output, 'server', settings.logLevel);
  await shieldApps(paths).catch((error: unknown) => log.error('apps not shielded', { error }));
  log.info('starting', { version, pid: process.pid, home: paths.home });
  process.on('uncaughtException', (error) => {
    log.error('crashed', { error });
    process.stderr.write(`sluice: the server crashed: ${describeError(error)}\n`);
    process.exit(exitStatus.crashed);
  });
  await using ending = new AsyncDisposableStack();
  ending.defer(() => {
    log.info('stopped');
    lock.release();
  });

  const side = surroundings.runnerSide({ paths, output, settings, log });
  let url = '';
  const passed = takePassedSockets();
  const edge = new Edge({ paths, settings, log, released: () => void holdPorts() });
  await edge.load();
  // If the runner is another user than the server, it can hold the port only if systemd has opened the port for the server.
  let mayHoldApi = passed.length > 0;
  const ports = new AssignedPorts({
    ...{ paths, settings, log },
    routed: () => edge.routed,
    api: () => (mayHoldApi ? placeOfApi(url, settings) : undefined),
  });
  const runner = new RunnerClient({
    ...{ ...side, path: paths.runnerSocket, log },
    greeted: (client, { users }) => {
      mayHoldApi ||= !users;
      return ports.hold((addresses) => client.call('hold', { addresses }));
    },
  });
  const holdPorts = () => ports.hold((addresses) => runner.call('hold', { addresses }));
  ending.defer(async () => {
    await side.abandon(runner);
    await runner.close();
  });
  const builds = new Slots(settings.buildConcurrency);
  const moveLock = new MoveLock();
  const node = process.execPath;
  const appliance = { paths, settings, runner, holdPorts, log, builds, moveLock, node, domains: edge };
  const deployer = new AppService(appliance);
  await deployer.recover();

  const pushes = placeOfPushes(paths, settings);
  const keys = new KeyStore(paths.keys, pushes.authorizedKeys);
  await keys.synchronize().catch((error) => log.error('keys not written', { error }));
  const tokens = new TokenStore(paths.tokens);
  const record = (event: Omit<LoggedEvent, 'at'>) => recordEvent(appliance, event);
  const shared = { service: deployer, tokens, keys, edge, record, version, log, url: () => url };
  const runnerNow = async () => {
    const usage = runner.info && (await runner.usage());
    // A new runner may have replaced the first one meanwhile.
    return runner.info && usage && { ...runner.info, ...usage };
  };
  const api = (local: boolean) => createApi({ ...shared, local, runner: runnerNow }).callback();
  const ssh = createSshApi({ service: deployer, keys, log }).callback();
  const sockets = [
    { path: paths.serverSocket, mode: 0o600, listener: api(true) },
    { ...pushes.socket, listener: ssh },
  ];
  ({ url } = ending.use(await serveApi(settings.listen, api(false), sockets, { log, passed })));
  void holdPorts();
  const { host, port } = settings.listen;
  if (passed.length > 0 && url !== `http://${toUrlHost(host)}:${port}`)
    log.warn('API listens at another address than config.json says: run install.sh again', {
      url,
      host,
      port,
    });

  const settled = deployer.keepRunning();
  edge.start();
  ending.defer(() => edge.stop());
  log.info('ready', { url });
  if (!isLoopback(settings.listen.host))
    log.warn('API reachable without TLS: tokens travel unencrypted', { url });
  surroundings.whenReady({ url, pid: process.pid, home: paths.home, version });
  void surroundings.untilSettled?.(settled, log);
  const signal = await stopped;
  log.info('stopping', { signal });
  await deployer.windDown();
  await side.end(runner, signal);
}

/** Returns the address at which the API listens or will listen; undefined if the system picks the port. */
function placeOfApi(url: string, { listen }: ServerSettings): PortAddress | undefined {
  if (url === '') return listen.port === 0 ? undefined : listen;
  const { hostname, port } = new URL(url);
  return { host: fromUrlHost(hostname), port: Number(port) };
}

/**
 * Waits for the signal that ends the server: the first signal, or one that libexec/supervise.sh got before the start. A second
 * SIGINT ends the process at once. Other signals may come twice: from a service manager and from the supervisor.
 */
function untilTold(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let interrupted = false;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR2'] as const) {
      process.on(signal, () => {
        if (signal === 'SIGINT' && interrupted) process.exit(1);
        interrupted ||= signal === 'SIGINT';
        resolve(signal);
      });
      if (process.env['SLUICE_SIGNAL'] === signal.slice('SIG'.length)) resolve(signal);
    }
  });
}

function alreadyRunning(home: string): AppError {
  return new AppError('already_running', `Sluice is up already with the state in ${home}`, {
    hint: '`sluice status` shows what it runs. For a second one, set SLUICE_HOME to another directory.',
  });
}

export const { version } = manifest;
