import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { clearPath } from './users/host.ts';

/**
 * Socket pair through which the workers of an app pass connections to each other; see src/worker/handoff.cjs. The runner makes
 * the pair and gives both ends to each worker. The runner never reads from the pair: an app may send any descriptor there, but
 * only to its own workers.
 */
export class Handoff {
  static #made = 0;
  /** id that shows a worker if the active generation has the same handoff */
  readonly id = randomBytes(8).toString('hex');
  readonly take: Socket;
  readonly give: Socket;

  private constructor(take: Socket, give: Socket) {
    this.take = take;
    this.give = give;
  }

  /** @param directory directory for a temporary socket: Node.js cannot make a pair without a path */
  static async create(directory: string, warn: (message: string) => void): Promise<Handoff> {
    Handoff.#made += 1;
    const path = join(directory, `pair-${Handoff.#made}`);
    clearPath(path, warn);
    const server = createServer({ pauseOnConnect: true });
    // The mode is restricted from the start, because `listen` binds the path before it returns.
    const umask = process.umask(0o177);
    server.listen(path);
    process.umask(umask);
    let take: Socket | undefined;
    let give: Socket | undefined;
    // Without a descriptor for the other end, the wait below would never end.
    const failed = once(server, 'error').then(([error]) => {
      throw error;
    });
    failed.catch(() => undefined);
    server.on('connection', (socket) => {
      take = socket;
    });
    try {
      await once(server, 'listening');
      give = connect(path).pause();
      const [[taken]] = await Promise.race([
        failed,
        Promise.all([once(server, 'connection') as Promise<[Socket]>, once(give, 'connect')]),
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
