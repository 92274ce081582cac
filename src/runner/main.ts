import { createServer } from 'node:net';
import { homeFromEnvironment, Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { serveCalls } from '../protocol/peer.ts';
import { ensurePrivateDirectory } from '../system/fs/files.ts';
import { tryLock } from '../system/fs/lock.ts';
import { createLog, logLevel } from '../system/log/log.ts';
import { Runner } from './runner.ts';
import { openHost } from './users/host.ts';

const log = createLog(process.stderr.fd, 'runner', logLevel(process.env['SLUICE_LOG_LEVEL']));

/** Runs the runner's process, one for each home, until SIGTERM or the server's `shutdown`. */
async function main(): Promise<void> {
  const paths = new Paths(homeFromEnvironment());
  const host = openHost(paths, (message) => log.warn(message));
  if (host.users === undefined) await ensurePrivateDirectory(paths.run);
  const lock = tryLock(host.lock);
  if (lock === undefined)
    throw new AppError('already_running', `a runner for ${paths.home} is running already`);

  const runner = new Runner(paths, host, log, process.env['SLUICE_API_SOCKET']);
  await runner.start();

  let ending: Promise<void> | undefined;
  const end = (how: () => Promise<void>) => {
    ending ??= how().then(() => {
      // The answer to the server goes out first.
      setImmediate(() => process.exit(0));
    });
    return ending;
  };
  const shutdown = () => end(() => runner.stop());
  const leave = () => end(() => runner.leave());

  const server = createServer((connection) => {
    const closed = new AbortController();
    connection.on('close', () => closed.abort(new AppError('interrupted', 'the server hung up')));
    serveCalls(connection, runner.handlers(closed.signal, { leave, shutdown }));
  });
  // The system has no descriptor or memory for a connection. The server connects again.
  server.on('error', (error) => {
    if (!server.listening) throw error;
    log.error('a connection was not accepted', { error });
  });
  const socket = host.socketPath(paths.runnerSocket);
  // `listen` binds the socket before it returns: no other user may connect, from the first instant.
  const umask = process.umask(0o177);
  server.listen(socket, () => {
    host.giveToServer(socket);
    log.info('ready', host.users && { appsRunAs: `${host.users.owner.name}_APP` });
    runner.wakeServer();
  });
  process.umask(umask);

  process.on('SIGUSR2', () => void leave());
  process.on('SIGTERM', () => void shutdown());
  process.on('SIGINT', () => void shutdown());
}

if (import.meta.main) await main();
