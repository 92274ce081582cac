import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { AppError, systemCode } from '../errors/app-error.ts';
import type { Log } from '../system/log/log.ts';

/** Longest time until a server is woken, in ms. */
const longest = 24 * 3_600_000;

/**
 * Starts a server that rests: systemd starts the server when somebody connects to its socket. A running server sees
 * only a connection without a request.
 */
export class ServerWaker {
  readonly #path: string | undefined;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;

  /** @param path unix socket of the API that systemd has opened; undefined if there is none */
  constructor(path: string | undefined, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** Wakes the server now, since a new runner may need it to start apps. Does nothing if systemd starts no server. */
  wake(): void {
    if (this.#path === undefined) return;
    const socket = connect(this.#path, () => socket.end());
    socket.resume();
    socket.once('error', (error) => {
      // An administrator who stops the sockets does not want the server.
      if (systemCode(error) !== 'ENOENT') this.#log.warn('server not woken', { error });
    });
  }

  /**
   * Wakes the server after a time. Replaces a time that was set before.
   * @param after ms; null for never
   * @throws AppError `bad_request` if systemd starts no server
   */
  wakeIn(after: number | null): void {
    if (this.#path === undefined || !existsSync(this.#path))
      throw new AppError(
        'bad_request',
        'this runner cannot start the server: SLUICE_API_SOCKET names no socket',
      );
    if (after !== null && !(typeof after === 'number' && after >= 0))
      throw new AppError('bad_request', 'the time until the server is needed is not a number');
    clearTimeout(this.#timer);
    this.#timer = after === null ? undefined : setTimeout(() => this.wake(), Math.min(after, longest));
    this.#timer?.unref();
  }
}
