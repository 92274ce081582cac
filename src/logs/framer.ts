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
  readonly #mask: (text: string) => string;
  #held = '';
  #inParts = false;

  /** @param mask given whole lines, but for those that are written in parts */
  constructor(origin: LogOrigin, stream: LogStream, mask: (text: string) => string) {
    this.#origin = origin;
    this.#stream = stream;
    this.#mask = mask;
  }

  /** Whether a line has begun that has not ended. */
  get isHolding(): boolean {
    return this.#held !== '';
  }

  /** How many bytes of it are held back. */
  get held(): number {
    return this.#held.length;
  }

  /** The records that `text` completes. */
  push(text: string, now: Date): string {
    const end = text.lastIndexOf('\n');
    let records = '';
    if (end !== -1) {
      records = this.#records(this.#held + text.slice(0, end), now);
      this.#held = text.slice(end + 1);
    } else {
      this.#held += text;
    }
    return this.#held.length > longestHeld ? records + this.part(now) : records;
  }

  /** What is held of a line, as a part of it; the rest is to come. */
  part(now: Date): string {
    const part = this.#mask(this.#held);
    this.#held = '';
    this.#inParts = true;
    return `${linePrefix(now, this.#origin, this.#stream, true)}${part}\n`;
  }

  /** The end of what is held, or was written in parts: no more comes. */
  end(now: Date): string {
    if (!this.isHolding && !this.#inParts) return '';
    const rest = this.#records(this.#held, now);
    this.#held = '';
    return rest;
  }

  #records(lines: string, now: Date): string {
    this.#inParts = false;
    const prefix = linePrefix(now, this.#origin, this.#stream);
    const masked = this.#mask(lines);
    // Most text has none: looking is much cheaper than replacing.
    const clean = masked.includes('\r') ? masked.replaceAll('\r\n', '\n').replace(/\r$/, '') : masked;
    return `${prefix}${clean.replaceAll('\n', `\n${prefix}`)}\n`;
  }
}
