import { Waiting } from './waiting.ts';

/** Lets a fixed number through at a time; the others wait in the order they came. With one slot it is a lock. */
export class Slots {
  #free: number;
  readonly #waiting = new Waiting();

  constructor(count: number) {
    this.#free = count;
  }

  get busy(): boolean {
    return this.#free === 0;
  }

  /**
   * Waits for a slot, which is held until what is returned is disposed of.
   * @throws the reason of the signal, when it aborts first
   */
  async take(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#waiting.wait(signal);
    const held = new DisposableStack();
    held.defer(() => this.#pass());
    return held;
  }

  /** Hands the slot straight to the next one, so that nobody who comes meanwhile gets in between. */
  #pass(): void {
    if (!this.#waiting.letOne()) this.#free += 1;
  }
}
