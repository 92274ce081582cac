import { WaitQueue } from './slots.ts';

/**
 * Lock with two sides: work that freezes data, such as a backup, and work that moves data, such as a deploy. Any
 * number of one side may work at a time, but never both sides.
 */
export class MoveLock {
  readonly #inside = { freezing: 0, moving: 0 };
  readonly #queue = new WaitQueue();

  get isFrozen(): boolean {
    return this.#inside.freezing > 0;
  }

  get isTaken(): boolean {
    return this.#inside.freezing + this.#inside.moving > 0;
  }

  /** Waits until nothing moves. Nothing moves until the result is disposed of. @throws the reason of the signal if it aborts first */
  async freeze(signal?: AbortSignal): Promise<Disposable> {
    while (this.#inside.moving > 0) await this.#queue.wait(signal);
    return this.#enter('freezing');
  }

  /** Allows its caller to move data until the result is disposed of; returns undefined while data is frozen. */
  tryMove(): Disposable | undefined {
    return this.isFrozen ? undefined : this.#enter('moving');
  }

  /** Waits until no data is frozen, then works like `tryMove`. @throws the reason of the signal if it aborts first */
  async move(signal?: AbortSignal): Promise<Disposable> {
    while (this.isFrozen) await this.#queue.wait(signal);
    return this.#enter('moving');
  }

  #enter(side: 'freezing' | 'moving'): Disposable {
    this.#inside[side] += 1;
    const inside = new DisposableStack();
    inside.defer(() => {
      this.#inside[side] -= 1;
      this.#queue.releaseAll();
    });
    return inside;
  }
}
