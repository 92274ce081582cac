import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describeError } from '../system/log/log.ts';
import { clearPath } from './users/host.ts';

/**
 * Socket pair through which the workers of an app pass connections to each other; see src/worker/handoff.cjs. The runner makes
 * the pair and gives both ends to each worker. The runner never reads from the pair: an app may send any descriptor there, and
 * only workers of the same app read it.
 */
export class Handoff {
  static #made = 0;
  /** id by which a worker sees whether the active generation has the same handoff */
  readonly id = randomBytes(8).toString('hex');
  /** true once a worker with this handoff has aborted: it may contain descriptors that Node.js cannot receive */
  isSuspect = false;
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
    // Rejects also if no descriptor is free for this end.
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    let give: Socket | undefined;
    try {
      await once(server, 'listening');
      give = connect(path).pause();
      const [[take]] = await Promise.all([accepted, once(give, 'connect')]);
      return new Handoff(take, give);
    } catch (error) {
      give?.destroy();
      accepted.then(
        ([take]) => take.destroy(),
        () => undefined,
      );
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

/** Inboxes of the slots of a generation, by slot: see src/worker/affinity.cjs. */
export class Inboxes implements Disposable {
  readonly all: readonly Handoff[];

  private constructor(all: readonly Handoff[]) {
    this.all = all;
  }

  /** @param count number of slots @param directory see Handoff.create */
  static async create(count: number, directory: string, warn: (message: string) => void): Promise<Inboxes> {
    const made: Handoff[] = [];
    try {
      while (made.length < count) made.push(await Handoff.create(directory, warn));
      return new Inboxes(made);
    } catch (error) {
      for (const each of made) each.close();
      throw error;
    }
  }

  /** Closes the runner's copies: the workers of the generation have ended. */
  [Symbol.dispose](): void {
    for (const each of this.all) each.close();
  }
}

/**
 * Current handoff of an environment: all its workers that live have the same one, so that connections reach each open worker.
 * Exists from `open` until `close`.
 */
export class AppHandoff {
  readonly #directory: string;
  readonly #log: (message: string) => void;
  current: Handoff | undefined;

  /** @param directory see Handoff.create */
  constructor(directory: string, log: (message: string) => void) {
    this.#directory = directory;
    this.#log = log;
  }

  async open(): Promise<void> {
    this.current ??= await Handoff.create(this.#directory, this.#log);
  }

  close(): void {
    this.current?.close();
    this.current = undefined;
  }

  /**
   * Returns the handoff for a worker that is started now; undefined after `close`. Replaces a suspect handoff if no worker has it.
   * @param isUsed returns true if a worker that lives has this handoff
   */
  async forNextWorker(isUsed: (handoff: Handoff) => boolean): Promise<Handoff | undefined> {
    const former = this.current;
    if (!former?.isSuspect || isUsed(former)) return former;
    try {
      const fresh = await Handoff.create(this.#directory, this.#log);
      if (this.current !== former || isUsed(former)) fresh.close();
      else {
        this.current = fresh;
        former.close();
      }
    } catch (error) {
      this.#log(`the handoff was not replaced: ${describeError(error)}`);
    }
    return this.current;
  }
}
