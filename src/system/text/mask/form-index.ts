import type { Form, Forms } from './forms.ts';
import { isSpace, mixes, pairMixes, pairShifts, shifts, spread, step, windowLength } from './symbols.ts';
import { Buckets, bitsFor, chooseWindows, maxPieceLength, pieceOf } from './windows.ts';

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

export interface Range {
  /** index of the first byte; `end` is the index after the last byte */
  start: number;
  end: number;
}

/** Results of a search. */
interface Found {
  ranges: Range[];
  /** end of the last range of each form */
  covered: Map<number, number>;
}

/**
 * Finds forms of values in bytes, in a time that hardly grows with the number of values: at every second character it looks
 * up the hash of the last five symbols. Takes some 40 bytes of memory for every 22 symbols of a form.
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
  #budget = 0;

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
    const startsOf = (length: number) =>
      new Buckets(
        forms.list.map((form, index) => ({ hash: startHash(forms, form, length), form: index, offset: 0 })),
      );
    this.#starts = { line: startsOf(minOpen.line), amidLine: startsOf(minOpen.amidLine) };
  }

  /**
   * Returns the ranges that are a form, in no order. Ranges may overlap.
   * @param text begins at an even address, as each new buffer does
   */
  find(text: Buffer): Range[] {
    const pairs = new Uint16Array(text.buffer, text.byteOffset, text.length >> 1);
    const found: Found = { ranges: [], covered: new Map() };
    this.#budget = Math.max(minBudget, budgetPerCharacter * text.length);
    let hash = 0;
    for (let from = 0; from < text.length; ) {
      const at = nextCandidate(text, pairs, from, hash, this.#filter, this.#filterShift);
      if (at === text.length) break;
      hash = candidateHash;
      this.#compare(text, at, hash, found);
      if (this.#budget < 0) break;
      from = at + 1;
    }
    return found.ranges;
  }

  /**
   * Returns the index at which a form begins that later text may complete; the length of the text if there is none.
   * @param where the text ends: at the end of a line, or within a line
   */
  openFrom(text: Buffer, where: keyof typeof minOpen): number {
    const { length } = text;
    const starts = this.#starts[where];
    const least = minOpen[where];
    this.#budget = minBudget;
    let found = length;
    let symbols = 0;
    for (let at = length - 1; at >= 0 && symbols < maxPieceLength - 1 && this.#budget >= 0; at -= 1) {
      const code = text[at] as number;
      if (isSpace[code]) continue;
      lastMixes[symbols] = mixes[code] as number;
      symbols += 1;
      if (symbols < least) continue;
      let hash = 0;
      for (let back = 1; back <= least; back += 1)
        hash = (hash << step) ^ (lastMixes[symbols - back] as number);
      for (let place = starts.next(hash); place !== -1; place = starts.next(hash, place)) {
        if (!this.#beginsAt(starts.form(place), text, at, symbols)) continue;
        found = at;
        break;
      }
    }
    return found;
  }

  /** @param at index of the last character of a window, or of a space behind it */
  #compare(text: Buffer, at: number, hash: number, { ranges, covered }: Found): void {
    const windows = this.#windows;
    let last = at;
    while (isSpace[text[last] as number]) last -= 1;
    for (let place = windows.next(hash); place !== -1; place = windows.next(hash, place)) {
      const form = windows.form(place);
      if (last < (covered.get(form) ?? 0)) continue;
      const range = this.#around(form, windows.offset(place) + windowLength - 1, text, last);
      if (range !== undefined) {
        covered.set(form, range.end);
        ranges.push(range);
      }
      if (this.#budget < 0) {
        // A form that is compared too late may have begun before.
        ranges.push({ start: Math.max(0, last - maxPieceLength), end: text.length });
        return;
      }
    }
  }

  /** Returns the range around `at`, the symbol `index` of a form, that matches the form; undefined if it is too short. */
  #around(formIndex: number, index: number, text: Buffer, at: number): Range | undefined {
    const forms = this.#forms;
    const form = forms.list[formIndex] as Form;
    const needed = Math.min(form.length, pieceOf(form));
    let start = at;
    let first = index;
    for (let back = at; back >= 0 && first >= 0; back -= 1) {
      const code = text[back] as number;
      if (isSpace[code]) continue;
      if (!forms.has(form, first, code)) break;
      start = back;
      first -= 1;
    }
    let end = at + 1;
    let after = index + 1;
    for (let on = at + 1; on < text.length && after < form.length; on += 1) {
      const code = text[on] as number;
      if (isSpace[code]) continue;
      if (!forms.has(form, after, code)) break;
      end = on + 1;
      after += 1;
    }
    this.#budget -= after - first;
    if (after - first - 1 < needed) return undefined;
    return forms.withRaggedEnds(form, { start, end }, first < 0, after === form.length, text);
  }

  #beginsAt(index: number, text: Buffer, from: number, symbols: number): boolean {
    const form = this.#forms.list[index] as Form;
    this.#budget -= 1;
    if (form.length <= symbols) return false;
    let symbol = 0;
    for (let at = from; at < text.length; at += 1) {
      const code = text[at] as number;
      if (isSpace[code]) continue;
      if (!this.#forms.has(form, symbol, code)) return false;
      symbol += 1;
      this.#budget -= 1;
    }
    return true;
  }
}

/**
 * Returns the next index at which a window may end that is in the index, or a space behind it; the length of the text if there is
 * none. Reads two characters at a time. A function of its own for speed: all printed bytes go through it.
 * @param from an even number
 * @param hash of the window that ends right before `from`
 */
function nextCandidate(
  text: Buffer,
  pairs: Uint16Array,
  from: number,
  hash: number,
  filter: Int32Array,
  filterShift: number,
): number {
  const [nextShifts, nextMixes] = [pairShifts, pairMixes];
  const bitShift = filterShift - 5;
  const whole = pairs.length;
  let rolling = hash;
  for (let at = from >> 1; at < whole; at += 1) {
    const pair = pairs[at] as number;
    rolling = (rolling << (nextShifts[pair] as number)) ^ (nextMixes[pair] as number);
    const mixed = spread(rolling);
    // A shift counts only the lower five bits of its distance.
    if ((((filter[mixed >>> filterShift] as number) >>> (mixed >>> bitShift)) & 1) === 0) continue;
    candidateHash = rolling;
    return 2 * at + 1;
  }
  // The last character may be without a pair.
  const last = text.length - 1;
  if ((last & 1) === 1 || from > last) return text.length;
  const code = text[last] as number;
  candidateHash = (rolling << (shifts[code] as number)) ^ (mixes[code] as number);
  return last;
}

/** Hash of the window that `nextCandidate` has found: a second result; an object for both would be slow. */
let candidateHash = 0;

/** Returns the hash of the first symbols of a form, which has at least six: see `Forms`. */
function startHash(forms: Forms, form: Form, length: number): number {
  let hash = 0;
  for (let index = 0; index < length; index += 1) {
    hash = (hash << step) ^ (mixes[forms.character(form, index)] as number);
  }
  return hash;
}
