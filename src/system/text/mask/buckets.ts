import { spread } from './symbols.ts';
import type { Window } from './windows.ts';

/** Table of windows by their hash, in arrays: objects would take ten times the memory. */
export class Buckets {
  readonly #shift: number;
  readonly #heads: Int32Array;
  readonly #hashes: Int32Array;
  readonly #forms: Int32Array;
  readonly #offsets: Int32Array;

  constructor(windows: Window[]) {
    const bits = Math.max(6, bitsFor(windows.length));
    this.#shift = 32 - bits;
    const heads = new Int32Array(2 ** bits + 1);
    const bucketOf = ({ hash }: Window) => spread(hash) >>> this.#shift;
    for (const window of windows) heads[bucketOf(window) + 1] = (heads[bucketOf(window) + 1] as number) + 1;
    for (let index = 1; index < heads.length; index += 1) {
      heads[index] = (heads[index] as number) + (heads[index - 1] as number);
    }
    this.#heads = heads;
    this.#hashes = new Int32Array(windows.length);
    this.#forms = new Int32Array(windows.length);
    this.#offsets = new Int32Array(windows.length);
    const filled = heads.slice();
    for (const window of windows) {
      const place = filled[bucketOf(window)] as number;
      filled[bucketOf(window)] = place + 1;
      this.#hashes[place] = window.hash;
      this.#forms[place] = window.form;
      this.#offsets[place] = window.offset;
    }
  }

  /** Returns the place of the next window with this hash, after `place`; -1 if there is none. */
  next(hash: number, place = -1): number {
    const bucket = spread(hash) >>> this.#shift;
    const end = this.#heads[bucket + 1] as number;
    for (let next = place === -1 ? (this.#heads[bucket] as number) : place + 1; next < end; next += 1) {
      if (this.#hashes[next] === hash) return next;
    }
    return -1;
  }

  form(place: number): number {
    return this.#forms[place] as number;
  }

  offset(place: number): number {
    return this.#offsets[place] as number;
  }
}

/** Returns the number of bits of an index into so many entries. */
export function bitsFor(count: number): number {
  return Math.ceil(Math.log2(Math.max(2, count)));
}
