import { MaskStream } from '../system/text/mask/mask-stream.ts';
import type { Masker } from '../system/text/mask/masker.ts';
import { type LogOrigin, type LogStream, linePrefix } from './line.ts';

/** A line longer than this is written in parts, in bytes: what is held back is lost when we are killed. */
const longestHeld = 16 * 1024;

/**
 * Makes records of `app.log` from what one stream of a process brings. Text is bytes, one a character (latin1): a line
 * ends at a byte that is part of no other character of UTF-8, so nothing needs to be decoded on the way to the disk.
 */
export class Framer {
  readonly #origin: LogOrigin;
  readonly #stream: LogStream;
  readonly #masked: MaskStream;
  #held = '';
  #inParts = false;

  constructor(origin: LogOrigin, stream: LogStream, masker: Masker) {
    this.#origin = origin;
    this.#stream = stream;
    this.#masked = new MaskStream(masker);
  }

  /** True if text is held back: a line that has not ended, or lines whose value may go on in the next line. */
  get isHolding(): boolean {
    return this.#held !== '';
  }

  /** How many bytes of it are held back. */
  get held(): number {
    return this.#held.length;
  }

  /** The records that `text` completes. */
  push(text: string, now: Date): string {
    this.#held += text;
    const end = this.#held.lastIndexOf('\n') + 1;
    let records = '';
    if (end > 0) {
      const open = this.#masked.openFrom(this.#held);
      // If a value may begin in a line, the whole line is held back until the value ends or turns out to be none.
      const settled = open >= end ? end : this.#held.lastIndexOf('\n', open) + 1;
      if (settled > 0) records = this.#records(this.#take(settled), now);
    }
    return this.#held.length > longestHeld ? records + this.part(now) : records;
  }

  /**
   * Returns records of the text that is held back. A line without an end becomes a part, and the rest follows later.
   * @param all also returns text that may be the beginning of a value
   */
  part(now: Date, { all = false } = {}): string {
    const end = this.#held.lastIndexOf('\n') + 1;
    const records = end === 0 ? '' : this.#records(this.#take(end), now);
    const part = this.#take(all ? this.#held.length : this.#masked.openFrom(this.#held));
    if (part === '') return records;
    this.#inParts = true;
    return `${records}${linePrefix(now, this.#origin, this.#stream, true)}${this.#masked.mask(part, this.#held)}\n`;
  }

  /** The end of what is held, or was written in parts: no more comes. */
  end(now: Date): string {
    if (!this.isHolding && !this.#inParts) return '';
    const lines = this.#take(this.#held.length);
    return this.#records(lines.endsWith('\n') ? lines : `${lines}\n`, now);
  }

  #take(length: number): string {
    const taken = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return taken;
  }

  /** @param lines whole lines, with their line ends */
  #records(lines: string, now: Date): string {
    this.#inParts = false;
    const prefix = linePrefix(now, this.#origin, this.#stream);
    const masked = this.#masked.mask(lines, this.#held).slice(0, -1);
    // Most text has none: looking is much cheaper than replacing.
    const clean = masked.includes('\r') ? masked.replaceAll('\r\n', '\n').replace(/\r$/, '') : masked;
    return `${prefix}${clean.replaceAll('\n', `\n${prefix}`)}\n`;
  }
}
