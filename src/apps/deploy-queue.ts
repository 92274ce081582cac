import { addAbortListener } from 'node:events';
import { AppError } from '../errors/app-error.ts';

/** A deploy under way, as its environment sees it. */
export interface QueuedDeploy {
  /** of its release */
  readonly number: number;
  /** aborted when the deploy is cancelled */
  readonly signal: AbortSignal;
  /** false once the release is live or has failed */
  readonly isUnderWay: boolean;
  /** resolves when nothing of the deploy runs any more */
  readonly ended: Promise<void>;
  /** Cancels the deploy, unless its switch has begun. Returns true if the deploy will end. */
  cancel(reason: AppError): boolean;
  log(line: string): void;
}

/**
 * Deploys of one environment that are under way, by number. One of them has the turn to build, one waits, and the newest wins: a
 * third replaces the one that waits, and a deploy whose upload took longer than that of a newer one is not built.
 */
export class DeployQueue extends Map<number, QueuedDeploy> {
  #running: QueuedDeploy | null = null;
  #waiting: { deploy: QueuedDeploy; resolve(): void; reject(error: unknown): void } | null = null;

  /**
   * Waits for the turn of a deploy, which lasts until the result is disposed of.
   * @throws AppError `superseded`; the reason of the deploy's signal when the signal aborts
   */
  async turn(deploy: QueuedDeploy): Promise<Disposable> {
    deploy.signal.throwIfAborted();
    const others = [this.#waiting?.deploy, this.#running];
    const newer = others.find((other) => other && other.number > deploy.number);
    if (newer) throw superseded(deploy.number, newer.number);
    if (this.#running === null) this.#running = deploy;
    else await this.#wait(deploy, this.#running);
    return { [Symbol.dispose]: () => this.#next() };
  }

  async #wait(deploy: QueuedDeploy, running: QueuedDeploy): Promise<void> {
    this.#waiting?.reject(superseded(this.#waiting.deploy.number, deploy.number));
    deploy.log(`waiting for release ${running.number}, which is being deployed`);
    const { promise, ...settle } = Promise.withResolvers<void>();
    const waiting = { deploy, ...settle };
    this.#waiting = waiting;
    using _ = addAbortListener(deploy.signal, () => {
      if (this.#waiting === waiting) this.#waiting = null;
      waiting.reject(deploy.signal.reason);
    });
    await promise;
  }

  #next(): void {
    this.#running = this.#waiting?.deploy ?? null;
    this.#waiting?.resolve();
    this.#waiting = null;
  }
}

export function superseded(number: number, by: number): AppError {
  return new AppError('superseded', `release ${number} was superseded by release ${by}, which is newer`, {
    hint: 'If you want the older code after all, deploy it again.',
  });
}
