/** Those who wait to be let on, in the order they came. */
export class Waiting {
  readonly #waiting = new Set<() => void>();

  /** Fulfilled when it is let on. @throws the reason of the signal, when it aborts first */
  wait(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const go = () => {
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = () => {
        this.#waiting.delete(go);
        reject(signal?.reason);
      };
      this.#waiting.add(go);
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** Lets the first one on. @returns whether there was one */
  letOne(): boolean {
    const [next] = this.#waiting;
    if (next === undefined) return false;
    this.#waiting.delete(next);
    next();
    return true;
  }

  /** Whoever then waits anew does so after this has ended. */
  letAll(): void {
    while (this.letOne());
  }
}
