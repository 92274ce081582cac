import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { finished } from 'node:stream';
import { ApiClient } from '../../client/api-client.ts';
import { bySocket } from '../../client/server-address.ts';
import { ownUnits, socketUnit } from '../../config/installed.ts';
import type { Paths } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { ensurePrivateDirectory } from '../../system/fs/files.ts';
import { tryLock } from '../../system/fs/lock.ts';
import { run } from '../../system/process/run.ts';
import { isUnitHome } from '../../system/process/systemd.ts';
import { asOwner } from '../../system/process/user.ts';

/**
 * Keeps files in the home from being moved or removed until the result is disposed of: asks the server for that, or keeps a
 * server from starting if none runs or rests.
 * @returns `lost`: aborted if the server ends meanwhile
 * @throws AppError `not_running` if a server has the home and does not answer
 */
export async function freezeHome(paths: Paths): Promise<{ lost: AbortSignal } & Disposable> {
  const lost = new AbortController();
  const lock = await lockHome(paths);
  const byLock = (held: Disposable) => ({
    lost: lost.signal,
    [Symbol.dispose]: () => held[Symbol.dispose](),
  });
  if (lock !== undefined && !(await listens(paths.serverSocket))) return byLock(lock);
  // A free lock and an open socket mean that the server rests, or cannot start: this call starts it.
  lock?.[Symbol.dispose]();
  const api = new ApiClient(await bySocket(paths.home));
  let response: IncomingMessage;
  try {
    response = await api.open('POST', '/v1/hold');
  } catch (error) {
    const cannotStart = error instanceof AppError && error.code === 'not_running';
    const next = cannotStart ? await lockHome(paths) : undefined;
    if (next === undefined) throw error;
    return byLock(next);
  }
  const stopWatching = finished(response, () => lost.abort(serverEnded()));
  await once(response, 'data', { signal: lost.signal }).catch(() => {
    throw serverEnded();
  });
  response.resume();
  return {
    lost: lost.signal,
    [Symbol.dispose]: () => {
      stopWatching();
      response.destroy();
    },
  };
}

function serverEnded(): AppError {
  return new AppError('interrupted', 'Sluice ended while its state was being copied', {
    hint: 'The incomplete backup is removed. Run the backup again.',
  });
}

/**
 * Takes the lock that a server takes first. Works with the rights of the owner of the home: the owner could put a link there
 * and make root create a file elsewhere.
 * @returns undefined if a server has the lock
 */
async function lockHome(paths: Paths): Promise<Disposable | undefined> {
  if (!(await exists(paths.run))) return new DisposableStack();
  return asOwner(paths.home, () => tryLock(paths.serverLock));
}

/**
 * Stops a Sluice that systemd runs, and its apps, so that they cannot overwrite restored state. Starts them again when the
 * result is disposed of.
 * @throws AppError `already_running` if another Sluice has the home
 */
export async function stopSluice(paths: Paths): Promise<AsyncDisposable> {
  await using ending = new AsyncDisposableStack();
  await run('systemctl', ['stop', ...ownUnits]);
  // The socket first: systemd does not open it while the server runs.
  const inOrder = [socketUnit, ...ownUnits.filter((unit) => unit !== socketUnit).toReversed()];
  ending.defer(async () => void (await run('systemctl', ['start', ...inOrder])));
  ending.use(await keepStopped(paths));
  return ending.move();
}

/** Keeps a server from starting until the result is disposed of. @throws AppError `already_running` */
export async function keepStopped(paths: Paths): Promise<Disposable> {
  await ensurePrivateDirectory(paths.home);
  if (!(await exists(paths.run)))
    asOwner(paths.home, () => mkdirSync(paths.run, { recursive: true, mode: 0o700 }));
  const lock = await lockHome(paths);
  if (lock !== undefined && !(await listens(paths.runnerSocket))) return lock;
  lock?.[Symbol.dispose]();
  const holder = lock === undefined ? 'Sluice runs' : 'apps of an earlier Sluice still run';
  throw new AppError(
    'already_running',
    `${holder} with the state in ${paths.home}; a restore needs Sluice and its apps to be stopped`,
    {
      hint: (await isUnitHome(paths.home))
        ? 'Run the command as root: then it stops Sluice, and starts it again afterwards.'
        : 'Stop it (Ctrl-C at `sluice up`, or `./install.sh --local --stop`), and start it again afterwards.',
    },
  );
}

/** Returns true if a process accepts connections at a unix socket. */
function listens(path: string): Promise<boolean> {
  const socket = connect(path);
  const connected = once(socket, 'connect').then(
    () => true,
    () => false,
  );
  return connected.finally(() => socket.destroy());
}
