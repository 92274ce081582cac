/** Longest time between two turns of our event loop that still counts as attended, in ms. */
const longest = 500;
/** Interval between two readings of the clock, in ms. */
const step = 250;

/**
 * Returns the time during which this process could receive messages. If this process stood still for seconds, or the machine
 * was suspended, that time must not count as the silence of another process.
 * @param elapsed ms since the last turn
 * @returns ms
 */
export function attendedTime(elapsed: number): number {
  return Math.min(elapsed, longest);
}

/** Aborts its signal after some attended time, once everything that has arrived by then is read. */
export class AttendedDeadline implements Disposable {
  readonly #controller = new AbortController();
  #left: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(milliseconds: number) {
    this.#left = milliseconds;
    this.#wait();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #wait(): void {
    const start = performance.now();
    this.#timer = setTimeout(
      () => {
        this.#left -= attendedTime(performance.now() - start);
        if (this.#left > 0) this.#wait();
        else setImmediate(() => this.#controller.abort());
      },
      Math.max(0, Math.min(step, this.#left)),
    );
  }
}
