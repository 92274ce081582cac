import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { homeFromEnvironment, Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { serveCalls } from '../protocol/peer.ts';
import { ensurePrivateDirectory } from '../system/fs/files.ts';
import { tryLock } from '../system/fs/lock.ts';
import { createLog } from '../system/log/log.ts';
import { logLevel } from '../system/log/log-level.ts';
import { Runner } from './runner.ts';
import { clearPath, openHost } from './users/host.ts';

const log = createLog(process.stderr.fd, 'runner', logLevel(process.env['SLUICE_LOG_LEVEL']));

/** The runner's process: one a home, from its start until SIGTERM or the server's `shutdown`. */
async function main(): Promise<void> {
  const paths = new Paths(homeFromEnvironment());
  const warn = (message: string) => log.warn(message);
  const ground = await openHost(paths, warn);
  if (ground.users === undefined) await ensurePrivateDirectory(paths.run);
  const lock = tryLock(ground.lock);
  if (lock === undefined)
    throw new AppError('already_running', `a runner for ${paths.home} is running already`);

  const runner = new Runner(paths, ground, log);
  await runner.start();

  const server = createServer((socket) => {
    const closed = new AbortController();
    socket.on('close', () => closed.abort(new AppError('interrupted', 'the server hung up')));
    serveCalls(socket, runner.handlers(closed.signal, { leave, shutdown: stop }));
  });
  // The system has no descriptor or memory for a connection: the server connects again.
  server.on('error', (error) => {
    if (!server.listening) throw error;
    log.error('a connection was not accepted', { error });
  });
  const socket = join(ground.run.directory, basename(paths.runnerSocket));
  clearPath(socket, warn);
  // Closed from the beginning: it is bound before `listen` returns.
  const umask = process.umask(0o177);
  server.listen(socket, () => {
    ground.giveToServer(socket);
    log.info('ready', ground.users && { appsRunAs: `${ground.users.owner.name}_APP` });
  });
  process.umask(umask);

  let ending: Promise<void> | undefined;
  function end(how: () => Promise<void>): Promise<void> {
    ending ??= how().then(() => {
      // The answer goes out on this connection first.
      setImmediate(() => process.exit(0));
    });
    return ending;
  }
  const stop = () => end(() => runner.stop());
  const leave = () => end(() => runner.leave());
  process.on('SIGUSR2', () => void leave());
  process.on('SIGTERM', () => void stop());
  process.on('SIGINT', () => void stop());
}

if (import.meta.main) await main();
