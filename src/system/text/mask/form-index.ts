import type { Form, Forms } from './forms.ts';
import {
  blank,
  folds,
  isSign,
  isSpace,
  mixes,
  pairTables,
  percent,
  shifts,
  spread,
  step,
  windowLength,
} from './symbols.ts';
import type { Unescaped } from './unescape.ts';
import { Buckets, bitsFor, chooseWindows, maxPieceLength, pieceOf, type Window } from './windows.ts';

/** Least number of symbols of a value that may go on in the next line (`line`), or in the same line (`amidLine`). */
const minOpen = { line: 6, amidLine: 2 };

/**
 * Limits the symbols that are compared for each character of a text; above the limit, the rest of the text is masked without
 * a search. Ordinary values need one or two; an app could choose values and output that need thousands to keep the runner busy.
 */
const budgetPerCharacter = 16;
const minBudget = 16 * 1024;

/** Mixed bits of the last symbols of a text, the last one first; searches do not overlap. */
const lastMixes = new Int32Array(maxPieceLength);

/** Buffer for a text: its bytes, and the same bytes in pairs and in fours at any index. */
export interface Space {
  bytes: Buffer;
  pairs: Uint16Array;
  words: DataView;
}

/** Number of bytes that a buffer has behind its text: more than the longest escape, and an even number. */
export const slack = 16;

/** @param length of the longest text, in bytes */
export function makeSpace(length: number): Space {
  const bytes = Buffer.allocUnsafeSlow(length + (length & 1) + slack);
  return { bytes, pairs: new Uint16Array(bytes.buffer), words: new DataView(bytes.buffer) };
}

export interface Range {
  /** index of the first byte; `end` is the index after the last byte */
  start: number;
  end: number;
}

/** Returns the index in a text as it is printed for an index in the text without escapes. */
export type Origin = (index: number) => number;

/**
 * Finds forms of values in bytes, in a time that hardly grows with the number of values: at every second character it looks
 * up the hash of the last five symbols. Takes some 40 bytes of memory for every 19 symbols of a form.
 */
export class FormIndex {
  readonly #forms: Forms;
  /** has a bit for each hash in the index, at the upper bits of `spread`; few other hashes have their bit set */
  readonly #filter: Int32Array;
  readonly #filterShift: number;
  /** form and offset of each window, by buckets of hashes */
  readonly #windows: Buckets;
  /** forms by their first symbols; `minOpen` has the number of symbols */
  readonly #starts: Record<keyof typeof minOpen, Buckets>;
  /** see `adjacentIn` */
  readonly #adjacent: Uint8Array;
  #budget = 0;
  #origin: Origin | undefined;
  #isSure = true;

  constructor(forms: Forms) {
    this.#forms = forms;
    const windows = chooseWindows(forms);
    this.#windows = new Buckets(windows);
    const filterBits = Math.max(12, bitsFor(windows.length) + 6);
    this.#filter = new Int32Array(2 ** (filterBits - 5));
    this.#filterShift = 32 - (filterBits - 5);
    for (const { hash } of windows) {
      const mixed = spread(hash);
      const at = mixed >>> this.#filterShift;
      this.#filter[at] = (this.#filter[at] as number) | (1 << (mixed >>> (this.#filterShift - 5)));
    }
    this.#adjacent = adjacentIn(forms, windows);
    const startsOf = (length: number) =>
      new Buckets(
        forms.list.map((form, index) => ({ hash: startHash(forms, form, length), form: index, offset: 0 })),
      );
    this.#starts = { line: startsOf(minOpen.line), amidLine: startsOf(minOpen.amidLine) };
  }

  /**
   * Adds the ranges that are a form, in no order. Ranges may overlap.
   * @param length of the text, in bytes
   * @param origin of a text without its escapes
   * @returns false if a form may be found where an escape is not decoded
   */
  find({ bytes, pairs }: Space, length: number, ranges: Range[], origin?: Origin): boolean {
    const covered = new Map<number, number>();
    this.#origin = origin;
    this.#isSure = true;
    this.#budget = Math.max(minBudget, budgetPerCharacter * length);
    let hash = 0;
    for (let from = 0; from < length; ) {
      const next = nextCandidate(pairs, bytes, length, from, hash, this.#filter, this.#filterShift);
      if (next === length) break;
      let at = next;
      while (isSpace[bytes[at] as number]) at -= 1;
      hash = candidateHash;
      this.#compare(bytes, length, at, hash, covered, ranges);
      if (this.#budget < 0) {
        // A form that is compared too late may have begun before.
        ranges.push({ start: Math.max(0, at - maxPieceLength), end: length });
        break;
      }
      from = next + 1;
    }
    return this.#isSure;
  }

  /**
   * Returns true if a window may have characters of an escape in it, so that a search without escapes does not find the window:
   * the sign of an escape, or the last characters of an escape in which a form begins.
   * @param text before its escapes were decoded
   */
  mayHaveEscapes(text: Buffer, { bytes, length, marks, marked }: Unescaped): boolean {
    // Some window has a sign.
    if (this.#adjacent[(blank << 8) | blank] === 1) return true;
    // Text that needs more checks takes less time to search in each reading.
    let checks = 64 + length / 16;
    for (let mark = 2; mark < marked; mark += 2) {
      const next = marks[mark] as number;
      const end = marks[mark + 1] as number;
      const last = text[end - 1] as number;
      // After a backslash, `%` may begin an escape of its own.
      if (last === percent) return true;
      if (this.#adjacent[(last << 8) | (bytes[next] as number)] === 0) continue;
      checks -= 1;
      if (checks < 0 || this.#hasWindow(text, end, bytes, next, length)) return true;
    }
    return false;
  }

  /** Returns true if a form may begin in the last characters of the escape that ends at `end`, and go on at `next`. */
  #hasWindow(text: Buffer, end: number, bytes: Buffer, next: number, length: number): boolean {
    for (let start = end - 1; start > end - windowLength && !isSign[text[start] as number]; start -= 1) {
      let hash = 0;
      for (let at = start; at < end; at += 1) hash = (hash << step) ^ (mixes[text[at] as number] as number);
      let missing = windowLength - (end - start);
      let at = next;
      for (; missing > 0 && at < length; at += 1) {
        const code = bytes[at] as number;
        if (isSign[code]) return true;
        if (isSpace[code]) continue;
        hash = (hash << step) ^ (mixes[code] as number);
        missing -= 1;
      }
      if (missing === 0 && this.#continues(hash, bytes, at, length)) return true;
    }
    return false;
  }

  /** Returns true if a form with this window may go on at `from`. Compares three symbols, which rules out most text. */
  #continues(hash: number, bytes: Buffer, from: number, length: number): boolean {
    const windows = this.#windows;
    for (let place = windows.next(hash); place !== -1; place = windows.next(hash, place)) {
      const form = this.#forms.list[windows.form(place)] as Form;
      let index = windows.offset(place) + windowLength;
      const end = Math.min(index + 3, form.length);
      for (let at = from; at < length && index < end; at += 1) {
        const code = bytes[at] as number;
        if (isSign[code]) return true;
        if (isSpace[code]) continue;
        if (!this.#forms.has(form, index, code)) break;
        index += 1;
      }
      if (index === end || this.#forms.hasSign(form, index, index)) return true;
    }
    return false;
  }

  /**
   * Returns the index at which a form begins that later bytes may complete; `length` if there is none.
   * @param where the bytes end: at the end of a line, or within a line
   */
  openFrom(bytes: Buffer, length: number, where: keyof typeof minOpen): number {
    const starts = this.#starts[where];
    const least = minOpen[where];
    this.#budget = minBudget;
    let found = length;
    let symbols = 0;
    for (let at = length - 1; at >= 0 && symbols < maxPieceLength - 1 && this.#budget >= 0; at -= 1) {
      const code = bytes[at] as number;
      if (isSpace[code]) continue;
      lastMixes[symbols] = mixes[code] as number;
      symbols += 1;
      if (symbols < least) continue;
      let hash = 0;
      for (let back = 1; back <= least; back += 1)
        hash = (hash << step) ^ (lastMixes[symbols - back] as number);
      for (let place = starts.next(hash); place !== -1; place = starts.next(hash, place)) {
        if (!this.#beginsAt(starts.form(place), bytes, length, at, symbols)) continue;
        found = at;
        break;
      }
    }
    return found;
  }

  #compare(
    bytes: Buffer,
    length: number,
    at: number,
    hash: number,
    covered: Map<number, number>,
    ranges: Range[],
  ): void {
    const windows = this.#windows;
    for (
      let place = windows.next(hash);
      place !== -1 && this.#budget >= 0;
      place = windows.next(hash, place)
    ) {
      const form = windows.form(place);
      if (at < (covered.get(form) ?? 0)) continue;
      const last = windows.offset(place) + windowLength - 1;
      const range = this.#around(form, last, bytes, length, at);
      if (range === undefined) continue;
      covered.set(form, range.end);
      ranges.push(range);
    }
  }

  /** Returns the range around `at`, the symbol `index` of a form, that matches the form; undefined if it is too short. */
  #around(formIndex: number, index: number, bytes: Buffer, length: number, at: number): Range | undefined {
    const forms = this.#forms;
    const form = forms.list[formIndex] as Form;
    const needed = Math.min(form.length, pieceOf(form));
    let start = at;
    let first = index;
    let back = at;
    for (; back >= 0 && first >= 0; back -= 1) {
      const code = bytes[back] as number;
      if (isSpace[code]) continue;
      if (!forms.has(form, first, code)) break;
      start = back;
      first -= 1;
    }
    let end = at + 1;
    let after = index + 1;
    for (let on = at + 1; on < length && after < form.length; on += 1) {
      const code = bytes[on] as number;
      if (isSpace[code]) continue;
      if (!forms.has(form, after, code)) break;
      end = on + 1;
      after += 1;
    }
    this.#budget -= after - first;
    const origin = this.#origin;
    if (origin !== undefined) {
      // Without decoding, the sign of an escape may be the next symbol, and characters of an escape the symbols before.
      const from = Math.max(0, back);
      const isEscaped = first >= 0 && origin(at + 1) - origin(from) > at + 1 - from;
      if (isEscaped || (after < form.length && forms.hasSign(form, index, after))) this.#isSure = false;
    }
    if (after - first - 1 < needed) return undefined;
    return forms.withRaggedEnds(form, { start, end }, first < 0, after === form.length, bytes, length);
  }

  #beginsAt(index: number, bytes: Buffer, length: number, from: number, symbols: number): boolean {
    const form = this.#forms.list[index] as Form;
    this.#budget -= 1;
    if (form.length <= symbols) return false;
    let symbol = 0;
    for (let at = from; at < length; at += 1) {
      const code = bytes[at] as number;
      if (isSpace[code]) continue;
      if (!this.#forms.has(form, symbol, code)) return false;
      symbol += 1;
      this.#budget -= 1;
    }
    return true;
  }
}

/**
 * Returns the next index at which the window that ends there may be in the index; `length` if there is none. Reads two
 * characters at a time. A function of its own for speed: all printed bytes go through it.
 * @param from an even number
 * @param hash of the window that ends right before `from`
 */
function nextCandidate(
  pairs: Uint16Array,
  bytes: Buffer,
  length: number,
  from: number,
  hash: number,
  filter: Int32Array,
  filterShift: number,
): number {
  const tables = pairTables();
  const [pairShifts, pairMixes] = [tables.shifts, tables.mixes];
  const whole = length >> 1;
  const bitShift = filterShift - 5;
  let rolling = hash;
  for (let at = from >> 1; at < whole; at += 1) {
    const pair = pairs[at] as number;
    rolling = (rolling << (pairShifts[pair] as number)) ^ (pairMixes[pair] as number);
    const mixed = spread(rolling);
    // A shift counts only the lower five bits of its distance.
    if ((((filter[mixed >>> filterShift] as number) >>> (mixed >>> bitShift)) & 1) === 0) continue;
    candidateHash = rolling;
    return 2 * at + 1;
  }
  // The last character may be without a pair.
  const at = length - 1;
  if ((length & 1) === 0 || from > at) return length;
  candidateHash =
    (rolling << (shifts[bytes[at] as number] as number)) ^ (mixes[bytes[at] as number] as number);
  return at;
}

/** Hash of the window that `nextCandidate` has found: a second result; an object for both would be slow. */
let candidateHash = 0;

/** Returns a table with a one for two characters that may be adjacent in a window. Behind a space or a sign is any symbol. */
function adjacentIn(forms: Forms, windows: Window[]): Uint8Array {
  const pairs = new Uint8Array(2 ** 16);
  for (const { form, offset } of windows) {
    let before = -1;
    for (let index = offset; index < offset + windowLength; index += 1) {
      const symbol = folds[forms.character(forms.list[form] as Form, index)] as number;
      if (before !== -1) pairs[(before << 8) | symbol] = 1;
      pairs[(symbol << 8) | blank] = 1;
      before = symbol;
    }
  }
  return pairs.map(
    (_, pair) => pairs[((folds[pair >> 8] as number) << 8) | (folds[pair & 255] as number)] as number,
  );
}

/** Returns the hash of the first symbols of a form, which has at least six: see `Forms`. */
function startHash(forms: Forms, form: Form, length: number): number {
  let hash = 0;
  for (let index = 0; index < length; index += 1) {
    hash = (hash << step) ^ (mixes[forms.character(form, index)] as number);
  }
  return hash;
}
