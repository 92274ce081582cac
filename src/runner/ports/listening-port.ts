import { BoundSocket } from 'node:net';
import { AppError, systemCode } from '../../errors/app-error.ts';

/** How often the listening socket is handed to a worker: once for its gate, and again for each time it reopens. */
export const gateCopies = 8;

/**
 * An app's port: bound once and held as long as the app is not stopped, so that connections wait in the kernel while
 * no worker accepts. The runner itself never accepts.
 */
export class ListeningPort {
  readonly host: string;
  readonly port: number;
  /** true if workers of an earlier runner may have the port, too */
  readonly beside: boolean;
  #socket: BoundSocket;

  /**
   * @param beside whether workers of ours, left by an earlier runner, may hold the port: then it is bound beside them
   * @throws AppError `port_taken`
   */
  constructor(host: string, port: number, { beside }: { beside: boolean }) {
    this.host = host;
    this.port = port;
    this.beside = beside;
    try {
      // With reusePort a second owner of the same user would silently get half the connections. On Linux, `isListenedOn`
      // finds such an owner. A bind without reusePort would fail there, because the holder (held-ports.ts) has the port bound.
      if (!beside && process.platform !== 'linux') new BoundSocket({ host, port }).close();
      this.#socket = new BoundSocket({ host, port, reusePort: true });
    } catch (error) {
      const code = systemCode(error);
      if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL') throw error;
      throw new AppError('port_taken', `port ${port} on ${host} cannot be had: ${code}`, {
        hint: `See what holds it with "ss -ltnp 'sport = :${port}'", end that, and deploy again.`,
        cause: error,
      });
    }
  }

  get fd(): number {
    return this.#socket.fd();
  }

  /**
   * Ends the listening, if no worker has the socket any more: clients are refused at once instead of waiting for nobody. Workers
   * that start later get a socket that listens only when they do.
   * @throws the error of the system
   */
  renew(): void {
    const { host, port } = this;
    const next = new BoundSocket({ host, port, reusePort: true });
    this.#socket.close();
    this.#socket = next;
  }

  close(): void {
    this.#socket.close();
  }
}
