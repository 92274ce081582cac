import { Waiting } from './waiting.ts';

/**
 * Keeps two kinds of work apart: that of those who need things to lie where they are, and that of those who move them.
 * Of either kind any number may be at work, of both at once none.
 */
export class Stillness {
  #held = 0;
  #moving = 0;
  readonly #waiting = new Waiting();

  get isHeld(): boolean {
    return this.#held > 0;
  }

  /** Waits until nobody moves anything; from then on nobody does, until what is returned is disposed of. */
  async hold(signal?: AbortSignal): Promise<Disposable> {
    while (this.#moving > 0) await this.#waiting.wait(signal);
    this.#held += 1;
    return this.#leaving(() => {
      this.#held -= 1;
    });
  }

  /** The right to move something, or undefined while somebody needs it to stay. */
  tryMove(): Disposable | undefined {
    if (this.isHeld) return undefined;
    this.#moving += 1;
    return this.#leaving(() => {
      this.#moving -= 1;
    });
  }

  /** The same, when nobody needs it to stay any more. @throws the reason of the signal, when it aborts first */
  async move(signal?: AbortSignal): Promise<Disposable> {
    for (;;) {
      const moving = this.tryMove();
      if (moving !== undefined) return moving;
      await this.#waiting.wait(signal);
    }
  }

  #leaving(leave: () => void): Disposable {
    const inside = new DisposableStack();
    inside.defer(() => {
      leave();
      this.#waiting.letAll();
    });
    return inside;
  }
}
