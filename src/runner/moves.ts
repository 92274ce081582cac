import type { ToWorker } from '../protocol/worker.ts';

/** How many of one app may be: workers name what they like, and might never say that they hold anything. */
const mayBeUnderWay = 4000;

/** What is needed of a worker. */
export interface Mover {
  /** a connection only goes to a worker that has the same one */
  readonly handoff: object;
  post(message: ToWorker): void;
}

interface Move<Worker> {
  from: Worker;
  /** the number that `from` knows it by */
  connection: number;
}

/**
 * Idle connections on their way from a retired worker to an open one, through the app's handoff: none of them is ever
 * here. The old worker keeps its copy and the new one does not read from its own until we say so, to the old one first:
 * if we die in between, a client sees its idle connection closed at worst, and never two readers on it.
 */
export class Moves<Worker extends Mover> {
  readonly #destinations: () => Worker[];
  readonly #isOneComing: () => boolean;
  /** those that are in the handoff, or about to be, by the number of the move */
  readonly #underWay = new Map<number, Move<Worker>>();
  #waiting: Move<Worker>[] | undefined;
  /** those that no worker is open for, while one is coming */
  #homeless: Move<Worker>[] = [];
  #nextId = 1;

  /**
   * @param destinations the workers that are open now
   * @param isOneComing whether another is about to be; `settle` is called then, and when it is not any more
   */
  constructor(destinations: () => Worker[], isOneComing: () => boolean) {
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
  readonly connection = (from: Worker, connection: number): void => {
    const count = this.#underWay.size + (this.#waiting?.length ?? 0) + this.#homeless.length;
    if (count < mayBeUnderWay) this.#place({ from, connection });
    else from.post({ type: 'kept', connection });
  };

  /** It was closed before it was in the handoff. */
  readonly gone = (from: Worker, connection: number): void => {
    for (const [id, move] of this.#underWay)
      if (move.from === from && move.connection === connection) this.#underWay.delete(id);
  };

  /**
   * The new worker holds it and does not read yet. One that was told to retire meanwhile has let go of it: were it to
   * read, it would answer by a release that is old by now.
   */
  readonly held = (by: Worker, id: number): void => {
    const move = this.#underWay.get(id);
    if (move === undefined) {
      by.post({ type: 'drop', move: id });
      return;
    }
    this.#underWay.delete(id);
    if (this.#waiting !== undefined || !this.#destinations().includes(by)) {
      // It may be told to open again, and would still hold it.
      by.post({ type: 'drop', move: id });
      this.#place(move);
      return;
    }
    move.from.post({ type: 'moved', connection: move.connection });
    by.post({ type: 'take', move: id });
  };

  /**
   * A worker is gone. What it had taken out of the handoff and not said is lost with it, and nobody knows what that is:
   * all that is under way is put in once more. What is taken out twice is dropped.
   */
  exited(worker: Worker): void {
    this.#waiting = this.#waiting?.filter(({ from }) => from !== worker);
    this.#homeless = this.#homeless.filter(({ from }) => from !== worker);
    for (const [id, move] of [...this.#underWay]) {
      this.#underWay.delete(id);
      if (move.from !== worker) this.#place(move);
    }
  }

  #place(move: Move<Worker>): void {
    if (this.#waiting === undefined) this.#offer(move);
    else this.#waiting.push(move);
  }

  #offer(move: Move<Worker>): void {
    const { from, connection } = move;
    if (!this.#destinations().some(({ handoff }) => handoff === from.handoff)) {
      if (this.#isOneComing()) this.#homeless.push(move);
      else from.post({ type: 'kept', connection });
      return;
    }
    const id = this.#nextId++;
    this.#underWay.set(id, move);
    from.post({ type: 'offer', connection, move: id });
  }
}
