import { MaskStream } from '../system/text/mask/mask-stream.ts';
import type { Masker } from '../system/text/mask/masker.ts';
import { type LogOrigin, type LogStream, linePrefix } from './line.ts';

/** Length of text that is buffered, in bytes: it is lost if the runner is killed. A longer line is written in parts. */
const maxPending = 16 * 1024;

/**
 * Makes records of `app.log` from the text of one stream of a process. Text is bytes, one a character (latin1): no character of
 * UTF-8 has the byte of a line end, so the text is not decoded.
 */
export class Framer {
  readonly #origin: LogOrigin;
  readonly #stream: LogStream;
  readonly #masked: MaskStream;
  #pending = '';
  #inParts = false;

  constructor(origin: LogOrigin, stream: LogStream, masker: Masker) {
    this.#origin = origin;
    this.#stream = stream;
    this.#masked = new MaskStream(masker);
  }

  /** True if text is buffered: an incomplete line, or lines that may have a part of a secret value. */
  get hasPending(): boolean {
    return this.#pending !== '';
  }

  /** Number of buffered bytes. */
  get pending(): number {
    return this.#pending.length;
  }

  /** Returns the records that `text` completes. */
  push(text: string, now: Date): string {
    this.#pending += text;
    // If a value may begin in a line, the whole line is buffered until the value ends or differs.
    const settled = this.#masked.settledLength(this.#pending);
    const records = settled === 0 ? '' : this.#records(this.#take(settled), now);
    return this.#pending.length > maxPending ? records + this.part(now) : records;
  }

  /**
   * Returns records of the buffered text. A line without an end becomes a part, and the rest follows later.
   * @param all also returns text that may be the beginning of a value
   */
  part(now: Date, { all = false } = {}): string {
    const end = this.#pending.lastIndexOf('\n') + 1;
    const records = end === 0 ? '' : this.#records(this.#take(end), now);
    const part = this.#take(all ? this.#pending.length : this.#masked.openFrom(this.#pending));
    if (part === '') return records;
    this.#inParts = true;
    return `${records}${linePrefix(now, this.#origin, this.#stream, true)}${this.#masked.mask(part, this.#pending)}\n`;
  }

  /** Returns the last records, at the end of the stream. */
  end(now: Date): string {
    if (!this.hasPending && !this.#inParts) return '';
    const last = this.#take(this.#pending.length);
    return last.endsWith('\n') ? this.#records(last, now) : this.#format(this.#masked.maskLast(last), now);
  }

  #take(length: number): string {
    const taken = this.#pending.slice(0, length);
    this.#pending = this.#pending.slice(length);
    return taken;
  }

  /** @param lines whole lines, with their line ends */
  #records(lines: string, now: Date): string {
    return this.#format(this.#masked.mask(lines, this.#pending).slice(0, -1), now);
  }

  /** @param masked lines, without the last line end */
  #format(masked: string, now: Date): string {
    this.#inParts = false;
    const prefix = linePrefix(now, this.#origin, this.#stream);
    // Most text has no carriage return, and a search is much cheaper than a replacement.
    const clean = masked.includes('\r') ? masked.replaceAll('\r\n', '\n').replace(/\r$/, '') : masked;
    return `${prefix}${clean.replaceAll('\n', `\n${prefix}`)}\n`;
  }
}
