import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { FromOrphan, ToOrphan } from '../protocol/worker.ts';
import { withDeadline } from '../system/deadline.ts';

/** A worker of an earlier runner that goes on serving until it is retired. */
interface Orphan {
  key: string;
  pid: number;
  socket: Socket;
  retired: PromiseWithResolvers<void>;
  hasRetired: boolean;
}

/** How long an orphan may take to shut its gate, in ms: see generation.ts. */
const retireDeadline = 1000;

/**
 * Where workers report whose runner is gone. They serve on, and are told to retire through here when a fresh
 * generation takes their place: never by a signal, which the app's own handler would answer by ending at once.
 */
export class Orphans {
  readonly #orphans = new Set<Orphan>();
  readonly #server: Server;
  readonly #superseded: (key: string) => boolean;

  /** @param superseded whether a generation of this runner has already taken over for `key` */
  constructor(superseded: (key: string) => boolean) {
    this.#superseded = superseded;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, resolve);
    });
  }

  close(): void {
    this.#server.close();
    for (const { socket } of this.#orphans) socket.destroy();
  }

  /** The pids of those of `key` that take nothing new any more. */
  retired(key: string): number[] {
    return [...this.#orphans]
      .filter((orphan) => orphan.key === key && orphan.hasRetired)
      .map(({ pid }) => pid);
  }

  /** Whose orphans there are. */
  keys(): string[] {
    return [...this.#orphans].map((orphan) => orphan.key);
  }

  /** Tells those of `key` to take nothing new, and waits for their word; they end by themselves when drained. */
  async retire(key: string): Promise<void> {
    const concerned = [...this.#orphans].filter((orphan) => orphan.key === key);
    await Promise.all(concerned.map((orphan) => this.#retire(orphan)));
  }

  async #retire(orphan: Orphan): Promise<void> {
    post(orphan.socket, { type: 'retire' });
    await withDeadline(orphan.retired.promise, retireDeadline);
  }

  #accept(socket: Socket): void {
    let orphan: Orphan | undefined;
    // A worker that dies resets the connection; its 'close' follows and says all there is to know.
    socket.on('error', () => undefined);
    createInterface({ input: socket }).on('line', (line) => {
      const message = JSON.parse(line) as FromOrphan;
      if (message.type === 'orphan') {
        const { key, pid } = message;
        orphan = { key, pid, socket, retired: Promise.withResolvers(), hasRetired: false };
        this.#orphans.add(orphan);
        if (this.#superseded(key)) void this.#retire(orphan);
      } else if (message.type === 'retired' && orphan !== undefined) {
        orphan.hasRetired = true;
        orphan.retired.resolve();
      }
    });
    socket.on('close', () => {
      if (orphan === undefined) return;
      this.#orphans.delete(orphan);
      orphan.retired.resolve();
    });
  }
}

function post(socket: Socket, message: ToOrphan): void {
  socket.write(`${JSON.stringify(message)}\n`);
}
