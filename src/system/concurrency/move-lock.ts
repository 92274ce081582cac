import { WaitQueue } from './slots.ts';

/**
 * Lock with two sides: work that freezes data, such as a backup, and work that moves data, such as a deploy. Any
 * number of one side may work at a time, but never both sides.
 */
export class MoveLock {
  #freezes = 0;
  #moving = 0;
  readonly #queue = new WaitQueue();

  get isFrozen(): boolean {
    return this.#freezes > 0;
  }

  /** Waits until nothing moves. Nothing moves until the result is disposed of. @throws the reason of the signal if it aborts first */
  async freeze(signal?: AbortSignal): Promise<Disposable> {
    while (this.#moving > 0) await this.#queue.wait(signal);
    this.#freezes += 1;
    return this.#leaving(() => {
      this.#freezes -= 1;
    });
  }

  /** Allows its caller to move data until the result is disposed of; returns undefined while data is frozen. */
  tryMove(): Disposable | undefined {
    if (this.isFrozen) return undefined;
    this.#moving += 1;
    return this.#leaving(() => {
      this.#moving -= 1;
    });
  }

  /** Waits until no data is frozen, then works like `tryMove`. @throws the reason of the signal if it aborts first */
  async move(signal?: AbortSignal): Promise<Disposable> {
    for (;;) {
      const moving = this.tryMove();
      if (moving !== undefined) return moving;
      await this.#queue.wait(signal);
    }
  }

  #leaving(leave: () => void): Disposable {
    const inside = new DisposableStack();
    inside.defer(() => {
      leave();
      this.#queue.releaseAll();
    });
    return inside;
  }
}
