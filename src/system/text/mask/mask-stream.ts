import { lastOf, type Masker } from './masker.ts';

/**
 * Masks a text that arrives in pieces, even if a value lies in two pieces: the caller holds back text that may be the
 * beginning of a value until more text comes. Texts are bytes of UTF-8, one a character (latin1).
 */
export class MaskStream {
  readonly #masker: Masker;
  #before = '';

  constructor(masker: Masker) {
    this.#masker = masker;
  }

  /**
   * Finds a value that begins in `text`, the next piece, and that later text may complete.
   * @returns the index at which the value begins; the length of `text` if there is none
   */
  openFrom(text: string): number {
    return this.#masker.openFrom(text, this.#before);
  }

  /** Masks the next piece. @param after text behind it that is known, and masked later */
  mask(text: string, after = ''): string {
    if (this.#masker.isIdle) return text;
    const masked = this.#masker.mask(text, this.#before, after);
    // Copied, because a slice would keep the whole text in memory.
    this.#before = Buffer.from(lastOf(this.#before, text), 'latin1').toString('latin1');
    return masked;
  }
}

/** Longest line that is shown as a whole, in bytes. */
const longestHeld = 16 * 1024;

/** Masks ordinary text that arrives in pieces, such as the output of a command. Holds text back itself, and returns whole lines. */
export class MaskedText {
  readonly #stream: MaskStream;
  #held = '';

  constructor(masker: Masker) {
    this.#stream = new MaskStream(masker);
  }

  /** @returns masked text that can be shown now */
  push(text: string): string {
    this.#held += Buffer.from(text).toString('latin1');
    const open = this.#stream.openFrom(this.#held);
    const end = this.#held.lastIndexOf('\n') + 1;
    const settled = open >= end ? end : this.#held.lastIndexOf('\n', open) + 1;
    return this.#show(this.#held.length - settled > longestHeld ? open : settled);
  }

  /** Returns the text that was held back, when no more text comes. */
  end(): string {
    return this.#show(this.#held.length);
  }

  #show(length: number): string {
    const shown = this.#stream.mask(this.#held.slice(0, length), this.#held.slice(length));
    this.#held = this.#held.slice(length);
    return Buffer.from(shown, 'latin1').toString();
  }
}
