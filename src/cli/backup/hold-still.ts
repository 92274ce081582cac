import { once } from 'node:events';
import { checkRunDirectory, type Paths } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { type FileLock, tryLock } from '../../system/fs/lock.ts';
import { asOwner } from '../../system/process/user.ts';
import { ApiClient } from '../client.ts';

interface Stillness extends Disposable {
  /** aborted when it is over before its time */
  over: AbortSignal;
}

/**
 * Sees to it that nothing of what is on the disk is moved or removed meanwhile: a server that runs is told so, and where
 * none runs, none can start.
 * @throws AppError `not_running` where one has the home and does not answer
 */
export async function holdStill(paths: Paths): Promise<Stillness> {
  const lock = await lockHome(paths);
  const over = new AbortController();
  if (lock !== undefined) return { over: over.signal, [Symbol.dispose]: () => lock.release() };
  await checkRunDirectory(paths);
  const api = new ApiClient({ kind: 'socket', path: paths.serverSocket, home: paths.home });
  const response = await api.open('POST', '/v1/hold');
  const ended = () => over.abort(endedEarly());
  response.on('close', ended);
  response.on('error', ended);
  await once(response, 'data', { signal: over.signal }).catch(() => {
    throw endedEarly();
  });
  response.resume();
  return {
    over: over.signal,
    [Symbol.dispose]: () => {
      response.off('close', ended);
      response.destroy();
    },
  };
}

/**
 * What a server takes before anything else; undefined where one has it. With the rights of whoever owns the home, who may
 * have put a link there: root would make, and be made to give away, a file elsewhere.
 */
export async function lockHome(paths: Paths): Promise<FileLock | undefined> {
  if (!(await exists(paths.run))) return { release: () => undefined };
  return asOwner(paths.home, () => tryLock(paths.serverLock));
}

function endedEarly(): AppError {
  return new AppError('interrupted', 'Sluice ended while its state was being copied', {
    hint: 'What was written is gone again. Start it once more.',
  });
}
