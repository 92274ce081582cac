import type { Masker } from '../../system/text/mask/masker.ts';

/** How much is kept of what a process printed last, in bytes, and how many lines of it are told. */
const kept = 8 * 1024;
const told = 20;

/** What a process printed last, for an error that says why it ended. */
export class Tail {
  readonly #masker: Masker;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(masker: Masker) {
    this.#masker = masker;
  }

  /** @param text bytes as latin1 */
  add(text: string): void {
    // A copy: a part of a string keeps the whole of it in memory.
    const last = Buffer.from(text.slice(-kept), 'latin1');
    this.#bytes =
      last.length >= kept ? last : Buffer.concat([this.#bytes.subarray(last.length - kept), last]);
  }

  /**
   * Returns the last lines, masked. Leaves out stack frames of Node.js itself: if a module is not found, they would push the
   * line that names the module out of the last lines.
   */
  lines(): string[] {
    const masked = this.#masker.mask(this.#bytes.toString('latin1'));
    const lines = Buffer.from(masked, 'latin1').toString().trimEnd().split('\n');
    // The first one may be the end of a longer one.
    if (this.#bytes.length >= kept) lines.shift();
    return lines.filter((line) => line.trim() !== '' && !/^\s+at .*\bnode:/.test(line)).slice(-told);
  }
}
