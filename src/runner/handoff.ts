import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { makeWay } from './make-way.ts';

/**
 * The socket pair through which the workers of an app pass connections to each other; see src/worker/handoff.cjs. The
 * runner makes it and hands both ends to each worker. It never reads from either: what an app sends there, a descriptor
 * above all, is for the app's own workers.
 */
export class Handoff {
  static #made = 0;
  /** by which a worker knows whether the active generation has the same handoff */
  readonly id = randomBytes(8).toString('hex');
  readonly take: Socket;
  readonly give: Socket;

  private constructor(take: Socket, give: Socket) {
    this.take = take;
    this.give = give;
  }

  /** @param directory where a socket may be for a moment: Node.js makes no pair without a path */
  static async create(directory: string, warn: (message: string) => void): Promise<Handoff> {
    Handoff.#made += 1;
    const path = join(directory, `pair-${Handoff.#made}`);
    makeWay(path, warn);
    const server = createServer({ pauseOnConnect: true });
    // Closed from the beginning: it is bound before `listen` returns.
    const umask = process.umask(0o177);
    server.listen(path);
    process.umask(umask);
    let take: Socket | undefined;
    let give: Socket | undefined;
    server.on('connection', (socket) => {
      take = socket;
    });
    try {
      await once(server, 'listening');
      give = connect(path).pause();
      const [[taken]] = await Promise.all([
        once(server, 'connection') as Promise<[Socket]>,
        once(give, 'connect'),
      ]);
      return new Handoff(taken, give);
    } catch (error) {
      take?.destroy();
      give?.destroy();
      throw error;
    } finally {
      server.close();
    }
  }

  close(): void {
    this.take.destroy();
    this.give.destroy();
  }
}
