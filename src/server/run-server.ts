import { createApi } from '../api/app.ts';
import { sshAccess } from '../api/auth/authorized-keys.ts';
import { KeyStore } from '../api/auth/keys.ts';
import { TokenStore } from '../api/auth/tokens.ts';
import { createSshApi } from '../api/git/ssh.ts';
import { portReservation } from '../apps/assigned-ports.ts';
import { RunnerClient } from '../apps/runner-client.ts';
import { version } from '../config/installed.ts';
import { checkRunDirectory, type EnvironmentId, Paths } from '../config/paths.ts';
import { loadServerSettings, type ServerSettings } from '../config/server-settings.ts';
import { Edge } from '../edge/edge.ts';
import { AppError } from '../errors/app-error.ts';
import type { PortAddress } from '../protocol/runner.ts';
import { ReleaseStore } from '../releases/store.ts';
import { AppService } from '../service/app-service.ts';
import { MoveLock } from '../system/concurrency/move-lock.ts';
import { Lock, LockByKey, Slots } from '../system/concurrency/slots.ts';
import { ensurePrivateDirectory } from '../system/fs/files.ts';
import { tryLock } from '../system/fs/lock.ts';
import { createLog, describeError, type Log } from '../system/log/log.ts';
import { fromUrlHost, isLoopback, toUrlHost } from '../system/net/address.ts';
import { omitResponse } from '../system/process/footprint.ts';
import { takePassedSockets } from '../system/process/systemd.ts';
import { ensurePackageBoundary } from './package-boundary.ts';
import { exitStatus } from './program.ts';
import { restAfter, untilAtRest } from './rest.ts';
import { serveApi } from './serve.ts';

/** Facts about a server that accepts requests. */
export interface Ready {
  url: string;
  pid: number;
  home: string;
  version: string;
}

/** Control over the runner's process, by a server that starts the runner. */
export interface RunnerControl {
  /** starts a runner if none runs */
  start(): void;
  /** ends the runner of a server that could not start */
  abandon(runner: RunnerClient): Promise<void>;
  /** ends the runner of a server that was stopped, and all apps after their requests; after SIGUSR2, leaves the apps running */
  end(runner: RunnerClient, signal: NodeJS.Signals): Promise<void>;
}

export interface RunnerContext {
  paths: Paths;
  /** file descriptor of the log */
  output: number;
  settings: ServerSettings;
  log: Log;
}

/** Differences between `sluice up` and the server of a system-wide install. */
interface ServerMode {
  /** Returns the file descriptor of our log. */
  openLog(paths: Paths): number;
  /** Returns control over the runner; left out if systemd starts and ends the runner. */
  controlRunner?(context: RunnerContext): RunnerControl;
  /**
   * Reports that the server is ready.
   * @param settled settles when each app that should run does, or has failed to start once
   */
  whenReady(ready: Ready, settled: Promise<void>, log: Log): void | Promise<void>;
}

/**
 * Runs the server until SIGINT, SIGTERM or SIGUSR2. If systemd has opened all sockets of the server, the server also ends when it has
 * had no work for a while: systemd starts the next one for the next connection.
 * @returns the exit status
 * @throws AppError if the server cannot start; apps that run already keep running
 */
export async function runServer(home: string, mode: ServerMode): Promise<number> {
  omitResponse();
  const stopped = waitForSignal();
  const paths = new Paths(home);
  await ensurePrivateDirectory(paths.home);
  await ensurePrivateDirectory(paths.run);
  await checkRunDirectory(paths);
  const settings = await loadServerSettings(paths.settings);
  await using ending = new AsyncDisposableStack();
  const lock = ending.use(tryLock(paths.serverLock));
  if (lock === undefined) throw alreadyRunning(paths.home);

  const output = mode.openLog(paths);
  const log = createLog(output, 'server', settings.logLevel);
  await ensurePackageBoundary(paths).catch((error: unknown) =>
    log.error('package boundary not written', { error }),
  );
  log.info('starting', { version, pid: process.pid, home: paths.home });
  process.on('uncaughtException', (error) => {
    log.error('crashed', { error });
    process.stderr.write(`sluice: The server crashed: ${describeError(error)}\n`);
    process.exit(exitStatus.crashed);
  });
  ending.defer(() => log.info('stopped'));

  const control = mode.controlRunner?.({ paths, output, settings, log });
  let url = '';
  const passed = takePassedSockets();
  const edge = new Edge({
    ...{ paths, settings, log },
    hasAffinity: (id) => hasAffinity(id, paths, log),
    released: () => void reservePorts(),
  });
  await edge.load();
  // If the runner is another user than the server, it can reserve the port only if systemd has opened the port for the server.
  let mayReserveApi = passed.length > 0;
  const reserve = portReservation({
    ...{ paths, settings, log },
    routed: () => edge.routed,
    api: () => (mayReserveApi ? apiAddress(url, settings) : undefined),
  });
  const runner = new RunnerClient({
    ...{ path: paths.runnerSocket, log, replaceOthers: control === undefined },
    ...(control && { whenAbsent: () => control.start() }),
    greeted: (client, { users }) => {
      mayReserveApi ||= !users;
      return reserve((addresses) => client.call('hold', { addresses }));
    },
  });
  const reservePorts = () => reserve((addresses) => runner.call('hold', { addresses }));
  ending.defer(async () => {
    await control?.abandon(runner);
    await runner.close();
  });
  const builds = new Slots(settings.buildConcurrency);
  const moveLock = new MoveLock();
  const node = process.execPath;
  const [nodeLock, nodeVersions] = [new Lock(), new LockByKey()];
  const appliance = {
    ...{ paths, settings, runner, reservePorts, log, builds, moveLock, node, nodeLock, nodeVersions },
    domains: edge,
  };
  const service = new AppService(appliance);
  await service.recover();

  const ssh = sshAccess(paths, settings);
  const keys = new KeyStore(paths.keys, ssh.authorizedKeys);
  await keys.synchronize().catch((error) => log.error('keys not written', { error }));
  const tokens = new TokenStore(paths);
  const runnerInfo = async () => {
    const usage = runner.info && (await runner.query('usage', {}));
    // A new runner may have replaced the first one meanwhile.
    return runner.info && usage && { ...runner.info, ...usage };
  };
  const options = { service, tokens, keys, edge, paths, version, log, url: () => url, runner: runnerInfo };
  const api = (local: boolean) => createApi(options, local).callback();
  const sockets = [
    { name: 'local', path: paths.serverSocket, mode: 0o600, listener: api(true) },
    { name: 'push', ...ssh.socket, listener: createSshApi(service, keys, log).callback() },
  ];
  const served = ending.use(await serveApi(settings.listen, api(false), sockets, { log, passed }));
  ({ url } = served);
  void reservePorts();
  warnAboutAddress(url, settings, passed.length > 0, log);

  const settled = service.keepRunning();
  edge.start();
  ending.defer(() => edge.stop());
  log.info('ready', { url });
  const reported = mode.whenReady({ url, pid: process.pid, home: paths.home, version }, settled, log);
  const atRest = async () => {
    await reported;
    // Only a runner that systemd has started outlives this server and starts the next one.
    if (control !== undefined || !served.outlivesServer) return stopped;
    const resting = new AbortController();
    ending.defer(() => resting.abort());
    await untilAtRest(() => served.stopAccepting(), {
      ...{ activity: served.activity, log, after: restTime(), signal: resting.signal },
      isBusy: () => service.isBusy || edge.isBusy || (edge.dueIn ?? Number.POSITIVE_INFINITY) < restTime(),
      prepare: () => runner.call('wakeServer', { after: edge.dueIn }),
    });
    return undefined;
  };
  const signal = await Promise.race([stopped, atRest()]);
  if (signal === undefined) log.info('nothing to do');
  else log.info('stopping', { signal });
  await service.shutDown();
  if (signal !== undefined) await control?.end(runner, signal);
  return signal === undefined ? exitStatus.atRest : 0;
}

/** Returns the time without work after which the server rests, in ms. Tests shorten it. */
function restTime(env: NodeJS.ProcessEnv = process.env): number {
  const seconds = Number(env['SLUICE_REST_SECONDS'] ?? Number.NaN);
  return seconds > 0 ? seconds * 1000 : restAfter;
}

/** Returns true if the live release sends each client to the same worker. A damaged record must not hold up all domains. */
async function hasAffinity(id: EnvironmentId, paths: Paths, log: Log): Promise<boolean> {
  try {
    const store = new ReleaseStore(id, paths.environment(id));
    const active = await store.active();
    const release = active === null ? undefined : await store.get(active.release);
    return release?.run?.settings.affinity === 'client';
  } catch (error) {
    log.error('live release not read for its domains', { ...id, error });
    return false;
  }
}

/** Returns the address at which the API listens or will listen; undefined if the system picks the port. */
function apiAddress(url: string, { listen }: ServerSettings): PortAddress | undefined {
  if (url === '') return listen.port === 0 ? undefined : listen;
  const { hostname, port } = new URL(url);
  return { host: fromUrlHost(hostname), port: Number(port) };
}

function warnAboutAddress(url: string, { listen }: ServerSettings, isPassed: boolean, log: Log): void {
  const { host, port } = listen;
  if (isPassed && url !== `http://${toUrlHost(host)}:${port}`)
    log.warn('API listens at another address than config.json says: run install.sh again', {
      url,
      host,
      port,
    });
  if (!isLoopback(host)) log.warn('API reachable without TLS: tokens travel unencrypted', { url });
}

/**
 * Waits for the signal that ends the server: the first signal, or one that libexec/supervise.sh got before the start. A second
 * SIGINT ends the process at once. Other signals may come twice: from a service manager and from the supervisor.
 */
function waitForSignal(): Promise<NodeJS.Signals> {
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
  return new AppError('already_running', `Sluice is already running with the state in ${home}`, {
    hint: 'See what runs: `sluice status`. To run a second Sluice, set SLUICE_HOME to another directory.',
  });
}
