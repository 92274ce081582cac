/**
 * Limits how fast the runner reads an app's messages or output: a burst, and then a rate. If an app sends more, the runner
 * reads it later.
 */
export class Allowance {
  readonly #burst: number;
  readonly #perMs: number;
  #left: number;
  #at: number;

  /**
   * @param burst bytes
   * @param perSecond bytes
   * @param now in ms, of a clock that only goes forward
   */
  constructor(burst: number, perSecond: number, now: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#left = burst;
    this.#at = now;
  }

  /** Counts bytes that have arrived. @returns ms to wait before reading more; 0 if there is no need to wait */
  take(bytes: number, now: number): number {
    this.#left = Math.min(this.#burst, this.#left + (now - this.#at) * this.#perMs) - bytes;
    this.#at = now;
    return this.#left >= 0 ? 0 : Math.ceil(-this.#left / this.#perMs);
  }
}
