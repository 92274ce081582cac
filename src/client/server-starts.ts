import { lstat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../errors/app-error.ts';
import { outputOf } from '../system/process/systemd.ts';

/** Time between two checks of the restarts, in ms. If the server cannot start, systemd tries again about once a second. */
const interval = 5000;

/**
 * Waits while a connection to the unix socket `path` is not answered. If systemd has opened the socket, the connection would wait
 * forever for a server that cannot start.
 * @param signal aborts when the answer has come, or the connection has ended
 * @returns true if systemd starts the server again and again; false after `signal`
 */
export async function cannotStart(path: string, signal: AbortSignal): Promise<boolean> {
  try {
    for (let before = Number.POSITIVE_INFINITY; ; ) {
      await sleep(interval, undefined, { signal });
      // The server's own socket refuses connections if no server runs.
      if (!(await lstat(path)).isSymbolicLink()) return false;
      const show = ['show', '--property=NRestarts', '--value', 'sluice.service'];
      const restarts = Number(await outputOf('systemctl', show));
      if (restarts > before) return true;
      before = restarts;
    }
  } catch (error) {
    if (signal.aborted || systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}
