import { AppError } from '../errors/app-error.ts';

/** A deploy that wants its turn. */
interface Candidate {
  number: number;
  /** aborted when it is cancelled */
  signal: AbortSignal;
  log(line: string): void;
}

interface Waiting {
  candidate: Candidate;
  go(): void;
  giveWay(to: Candidate): void;
}

/**
 * The order of the deploys of one target: one has its turn, one waits, and the newest wins. A third replaces the one
 * that waits; a deploy that comes after a newer one, because its upload took longer, does not run at all.
 */
export class DeployQueue {
  #running: Candidate | null = null;
  #waiting: Waiting | null = null;

  /**
   * Waits for the turn, which lasts until what is returned is disposed of.
   * @throws AppError `superseded`; the reason of the signal when it aborts
   */
  async turn(candidate: Candidate): Promise<Disposable> {
    candidate.signal.throwIfAborted();
    const others = [this.#waiting?.candidate, this.#running];
    const newer = others.find((other) => other && other.number > candidate.number);
    if (newer) throw superseded(candidate.number, newer.number);
    if (this.#running === null) this.#running = candidate;
    else await this.#wait(candidate, this.#running);
    return { [Symbol.dispose]: () => this.#next() };
  }

  #wait(candidate: Candidate, running: Candidate): Promise<void> {
    this.#waiting?.giveWay(candidate);
    candidate.log(`waiting for release ${running.number}, which is being deployed`);
    return new Promise((resolve, reject) => {
      const leave = () => {
        candidate.signal.removeEventListener('abort', cancelled);
        if (this.#waiting === waiting) this.#waiting = null;
      };
      const cancelled = () => {
        leave();
        reject(candidate.signal.reason);
      };
      const waiting: Waiting = {
        candidate,
        go: () => {
          leave();
          resolve();
        },
        giveWay: (to) => {
          leave();
          reject(superseded(candidate.number, to.number));
        },
      };
      this.#waiting = waiting;
      candidate.signal.addEventListener('abort', cancelled, { once: true });
    });
  }

  #next(): void {
    const next = this.#waiting;
    this.#running = next?.candidate ?? null;
    next?.go();
  }
}

export function superseded(number: number, by: number): AppError {
  return new AppError('superseded', `release ${number} gave way to release ${by}, which is newer`, {
    hint: 'Nothing is to be done unless you want the older code after all: then deploy it again.',
  });
}
