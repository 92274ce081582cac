import { lastOf, type Masker } from './masker.ts';

/**
 * Masks a text that arrives in pieces, also where a value lies in two of them: what may be the beginning of a value is
 * held back until more comes. Texts are bytes of UTF-8, one a character (latin1).
 */
export class MaskStream {
  readonly #masker: Masker;
  #before = '';

  constructor(masker: Masker) {
    this.#masker = masker;
  }

  /** Where in `text`, which is what follows, a value begins that what comes then may complete; its length if nowhere. */
  openFrom(text: string): number {
    return this.#masker.openFrom(text, this.#before);
  }

  /** Masks what follows. */
  mask(text: string): string {
    if (this.#masker.isIdle) return text;
    const masked = this.#masker.mask(text, this.#before);
    // A slice would keep all of the text it is of.
    this.#before = Buffer.from(lastOf(this.#before, text), 'latin1').toString('latin1');
    return masked;
  }
}

/** A line longer than this is shown in parts, in bytes. */
const longestHeld = 16 * 1024;

/**
 * The same for ordinary text, such as the output of a command: what is held back is in here. Lines are shown whole, since
 * the beginning of a value with escapes in it looks like none.
 */
export class MaskedText {
  readonly #stream: MaskStream;
  #held = '';

  constructor(masker: Masker) {
    this.#stream = new MaskStream(masker);
  }

  /** @returns what can be shown */
  push(text: string): string {
    this.#held += Buffer.from(text).toString('latin1');
    const open = this.#stream.openFrom(this.#held);
    const end = this.#held.lastIndexOf('\n') + 1;
    const settled = open >= end ? end : this.#held.lastIndexOf('\n', open) + 1;
    return this.#show(this.#held.length - settled > longestHeld ? open : settled);
  }

  /** What was held back: no more comes. */
  end(): string {
    return this.#show(this.#held.length);
  }

  #show(length: number): string {
    const shown = this.#stream.mask(this.#held.slice(0, length));
    this.#held = this.#held.slice(length);
    return Buffer.from(shown, 'latin1').toString();
  }
}
