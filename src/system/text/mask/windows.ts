import type { Form, Forms } from './forms.ts';
import { isSign, mixes, spread, step, windowLength } from './symbols.ts';

/** Lengths of the shortest pieces that are found, in symbols. A form that is shorter is found as a whole. */
const pieceLengths = { plain: 48, encoded: 96 };

export const maxPieceLength = pieceLengths.encoded;

/** Returns the length of the shortest piece of a form that is found, in symbols. */
export function pieceOf({ kind }: Form): number {
  return kind === 'plain' ? pieceLengths.plain : pieceLengths.encoded;
}

/** Number of symbols of a form that one escape may hide if the form begins in the escape: `u4e2d` after a backslash. */
const maxHidden = 5;

/**
 * Returns the length of a block. The search tests every second position, so each block indexes two adjacent windows. Blocks are
 * short enough that every piece contains both windows of some block, even without the symbols that an escape hides.
 */
function blockOf(form: Form): number {
  return Math.floor((pieceOf(form) - maxHidden - windowLength + 1) / 2);
}

/** Number of equal windows from which on a window of a long value counts as common. */
const maxAlike = 8;

/** Symbols of a form that are in the index. */
export interface Window {
  hash: number;
  /** index of the form; `offset` is the index of the window's first symbol in it */
  form: number;
  offset: number;
}

/**
 * Chooses the rarest window of each block: many values begin with `https://`, and few continue in the same way. If all windows
 * of a block are common, chooses the nearest rarer windows on both sides instead.
 */
export function chooseWindows(forms: Forms): Window[] {
  const chosen: Window[] = [];
  const totals = countWindows(forms);
  const uses = new Uint16Array(2 ** 16);
  for (const [index, form] of forms.list.entries()) {
    const hashes = windowHashes(forms, form);
    const [piece, block] = [pieceOf(form), blockOf(form)];
    const usesAt = (offset: number) => uses[spread(hashes[offset] as number) >>> 16] as number;
    const isCommon = (first: number) => Math.max(usesAt(first), usesAt(first + 1)) >= maxAlike;
    const totalAt = (offset: number) => totals[spread(hashes[offset] as number) >>> totalShift] as number;
    const choose = (first: number) => {
      for (const offset of [first, first + 1]) {
        const hash = hashes[offset] as number;
        uses[spread(hash) >>> 16] = Math.min(usesAt(offset) + 1, 0xffff);
        chosen.push({ hash, form: index, offset });
      }
    };
    const whole = form.length <= piece;
    const pairs = hashes.length - 1;
    for (let from = 0; from < pairs; from += whole ? pairs : block) {
      const to = whole ? pairs : Math.min(from + block, pairs);
      let rarest = -1;
      let least = Number.POSITIVE_INFINITY;
      for (let other = from; other < to; other += 1) {
        const total =
          Math.max(totalAt(other), totalAt(other + 1)) + (isUnwanted(forms, form, other) ? 256 : 0);
        if (total >= least || (!whole && isCommon(other))) continue;
        rarest = other;
        least = total;
      }
      if (rarest !== -1) {
        choose(rarest);
        continue;
      }
      const [first, last] = [Math.max(0, from - piece), Math.min(pairs, to + piece)];
      let [before, after] = [from - 1, to];
      while (before >= first && isCommon(before)) before -= 1;
      while (after < last && isCommon(after)) after += 1;
      if (before >= first) choose(before);
      if (after < last) choose(after);
    }
  }
  return chosen;
}

/**
 * Returns true if a window, or the window after it, has only digits, as the numbers and times that fill every log, or has the
 * sign of an escape, which is lost where escapes are decoded.
 */
function isUnwanted(forms: Forms, form: Form, offset: number): boolean {
  let digits = 0;
  for (let index = offset; index <= offset + windowLength; index += 1) {
    const code = forms.character(form, index);
    digits = code >= 0x30 && code <= 0x39 ? digits + 1 : 0;
    if (digits === windowLength || isSign[code]) return true;
  }
  return false;
}

/** Counts the windows of all forms by some bits of their hash; 255 stands for 255 or more. */
function countWindows(forms: Forms): Uint8Array {
  const totals = new Uint8Array(2 ** (32 - totalShift));
  for (const form of forms.list) {
    for (const hash of windowHashes(forms, form)) {
      const at = spread(hash) >>> totalShift;
      totals[at] = Math.min((totals[at] as number) + 1, 255);
    }
  }
  return totals;
}

/** Number of bits of a hash that the counts ignore: the largest set of values has a million windows. */
const totalShift = 10;

function windowHashes(forms: Forms, form: Form): Int32Array {
  const hashes = new Int32Array(form.length - windowLength + 1);
  let hash = 0;
  for (let index = 0; index < form.length; index += 1) {
    const code = forms.character(form, index);
    hash = (hash << step) ^ (mixes[code] as number);
    if (index >= windowLength - 1) hashes[index - windowLength + 1] = hash;
  }
  return hashes;
}

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
