import { chmodSync, chownSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { homeFromEnvironment, Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { serveCalls } from '../protocol/peer.ts';
import { ensurePrivateDirectory } from '../system/files.ts';
import { tryLock } from '../system/lock.ts';
import { createLog, describeError } from '../system/log.ts';
import { logLevel } from '../system/log-level.ts';
import { sayReadyToSystemd } from '../system/systemd.ts';
import { Runner } from './runner.ts';

const log = createLog(process.stderr.fd, 'runner', logLevel(process.env['SLUICE_LOG_LEVEL']));

/** The runner's process: one a home, from its start until SIGTERM or the server's `shutdown`. */
async function main(): Promise<void> {
  const paths = new Paths(homeFromEnvironment());
  await ensurePrivateDirectory(paths.run);
  const lock = tryLock(paths.runnerLock);
  if (lock === undefined)
    throw new AppError('already_running', `a runner for ${paths.home} is running already`);

  const runner = new Runner(paths, log);
  await runner.start();

  const server = createServer((socket) => {
    const closed = new AbortController();
    socket.on('close', () => closed.abort(new AppError('interrupted', 'the server hung up')));
    serveCalls(socket, runner.handlers(closed.signal, { leave, shutdown: stop }));
  });
  rmSync(paths.runnerSocket, { force: true });
  server.listen(paths.runnerSocket, () => {
    chmodSync(paths.runnerSocket, 0o600);
    giveToOwnerOf(paths.home, paths.runnerSocket);
    log.info('ready');
    sayReadyToSystemd('runs the apps').catch((error) =>
      log.error('systemd not told', { error: describeError(error) }),
    );
  });

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

/** The server is who calls us: as root we may be of another user than it, which owns the home. */
function giveToOwnerOf(home: string, path: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(home);
  chownSync(path, uid, gid);
}

if (import.meta.main) await main();
