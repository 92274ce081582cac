/**
 * How much of our time an app may take with what it sends: so much at once, and so much a second from then on. Who sends
 * more is read later, and waits.
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

  /** Takes bytes that have come. @returns ms to wait before more is read; 0 for none */
  take(bytes: number, now: number): number {
    this.#left = Math.min(this.#burst, this.#left + (now - this.#at) * this.#perMs) - bytes;
    this.#at = now;
    return this.#left >= 0 ? 0 : Math.ceil(-this.#left / this.#perMs);
  }
}
