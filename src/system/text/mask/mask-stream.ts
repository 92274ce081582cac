import { lastOf, type Masker } from './masker.ts';

/**
 * Masks a text that arrives in pieces, even if a value lies in two pieces: the caller buffers text that may be the beginning of a
 * value until more text comes. Texts are bytes of UTF-8, one a character (latin1).
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

  /** Returns the length of the whole lines in `text` that later text cannot change: no value that begins there may continue. */
  settledLength(text: string): number {
    const end = text.lastIndexOf('\n') + 1;
    if (end === 0) return 0;
    const open = this.openFrom(text);
    return open >= end ? end : text.lastIndexOf('\n', open) + 1;
  }

  /** Masks the next piece. @param after text behind it that is known, and masked later */
  mask(text: string, after = ''): string {
    if (this.#masker.isIdle) return text;
    const masked = this.#masker.mask(text, this.#before, after);
    // Copied, because a slice would keep the whole text in memory.
    this.#before = Buffer.from(lastOf(this.#before, text), 'latin1').toString('latin1');
    return masked;
  }

  /** Masks the last piece, with an unfinished value at its end. */
  maskLast(text: string): string {
    const before = this.#before;
    return this.#masker.maskUnfinished(this.mask(text), before);
  }
}

/** Longest line that is shown as a whole, in bytes. */
const maxPending = 16 * 1024;

/** Masks ordinary text that arrives in pieces, such as the output of a command. Buffers text itself, and returns whole lines. */
export class MaskedText {
  readonly #stream: MaskStream;
  #pending = '';

  constructor(masker: Masker) {
    this.#stream = new MaskStream(masker);
  }

  /** @returns masked text that can be shown now */
  push(text: string): string {
    this.#pending += Buffer.from(text).toString('latin1');
    const settled = this.#stream.settledLength(this.#pending);
    const isLong = this.#pending.length - settled > maxPending;
    return this.#show(isLong ? this.#stream.openFrom(this.#pending) : settled);
  }

  /** Returns the buffered text, at the end of the stream. */
  end(): string {
    const last = this.#stream.maskLast(this.#pending);
    this.#pending = '';
    return Buffer.from(last, 'latin1').toString();
  }

  #show(length: number): string {
    const shown = this.#stream.mask(this.#pending.slice(0, length), this.#pending.slice(length));
    this.#pending = this.#pending.slice(length);
    return Buffer.from(shown, 'latin1').toString();
  }
}
