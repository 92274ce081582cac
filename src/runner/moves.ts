import type { WorkerProcess } from './worker-process.ts';

/** How many of one app may be: each is a descriptor of ours, and workers might never say that they hold them. */
const mayBeUnderWay = 20_000;

/** A socket's handle as Node passes it between processes: ours only to pass on and to close. */
interface Handle {
  close(): void;
}

interface Move {
  from: WorkerProcess;
  /** the number that `from` knows it by */
  connection: number;
  handle: Handle;
  to: WorkerProcess | undefined;
}

/**
 * Idle connections on their way from a retired worker to an open one. The old worker keeps its copy and the new one
 * does not read from its own until we say so, to the old one first: if we die in between, a client sees its idle
 * connection closed at worst, and never two readers on it.
 */
export class Moves {
  readonly #destinations: () => WorkerProcess[];
  readonly #isOneComing: () => boolean;
  readonly #underWay = new Map<number, Move>();
  #waiting: Move[] | undefined;
  /** those that no worker is open for, while one is coming */
  readonly #homeless: Move[] = [];
  #nextId = 1;
  #turn = 0;

  /**
   * @param destinations the workers that are open now
   * @param isOneComing whether another is about to be; `settle` is called then, and when it is not any more
   */
  constructor(destinations: () => WorkerProcess[], isOneComing: () => boolean) {
    this.#destinations = destinations;
    this.#isOneComing = isOneComing;
  }

  /** Between the shutting of one gate and the opening of the next, connections wait. */
  pause(): void {
    this.#waiting ??= [];
  }

  resume(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const move of waiting) this.#offer(move);
    this.settle();
  }

  /** Finds a place for connections that had none. */
  readonly settle = (): void => {
    for (const move of this.#homeless.splice(0)) this.#place(move);
  };

  /** An idle connection of a retired worker. */
  readonly connection = (from: WorkerProcess, connection: number, handle: unknown): void => {
    this.#place({ from, connection, handle: handle as Handle, to: undefined });
  };

  /**
   * The new worker holds it and does not read yet. One that was told to retire meanwhile has let go of it: were it to
   * read, it would answer by a release that is old by now.
   */
  readonly held = (by: WorkerProcess, id: number): void => {
    const move = this.#underWay.get(id);
    if (move === undefined || move.to !== by) return;
    this.#underWay.delete(id);
    if (this.#waiting !== undefined || !this.#destinations().includes(by)) {
      this.#place(move);
      return;
    }
    move.from.post({ type: 'moved', connection: move.connection });
    by.post({ type: 'take', connection: id });
    move.handle.close();
  };

  /** A worker is gone: what it was offered goes to another. */
  exited(worker: WorkerProcess): void {
    for (const [id, move] of this.#underWay) {
      if (move.to !== worker) continue;
      this.#underWay.delete(id);
      this.#place(move);
    }
  }

  #place(move: Move): void {
    const count = this.#underWay.size + (this.#waiting?.length ?? 0) + this.#homeless.length;
    if (count >= mayBeUnderWay) this.#keep(move);
    else if (this.#waiting === undefined) this.#offer(move);
    else this.#waiting.push(move);
  }

  #keep({ from, connection, handle }: Move): void {
    from.post({ type: 'kept', connection });
    handle.close();
  }

  #offer(move: Move): void {
    const destinations = this.#destinations();
    const to = destinations[this.#turn++ % destinations.length];
    if (to === undefined) {
      if (this.#isOneComing()) this.#homeless.push(move);
      else this.#keep(move);
      return;
    }
    const id = this.#nextId++;
    move.to = to;
    this.#underWay.set(id, move);
    to.post({ type: 'offer', connection: id }, move.handle);
  }
}
