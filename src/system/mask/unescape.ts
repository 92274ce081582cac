import { makeSpace, type Space } from './form-index.ts';
import { nibbles } from './symbols.ts';

/** Text without its escapes. */
export interface Unescaped extends Space {
  /** number of bytes */
  length: number;
  /** pairs of an index in `bytes` and the same place in the text; later bytes follow one by one until the next pair */
  marks: Int32Array;
  /** number of used entries in `marks` */
  marked: number;
  /** true if an escape stands for a character that may begin another escape */
  isNested: boolean;
}

const backslash = 0x5c;
const percent = 0x25;

/** Length above which bytes without an escape are copied at once, in bytes. */
const shortRun = 48;

/** Characters by their letter after a backslash, in JSON and in JavaScript. Other letters stand for themselves. */
const letters = Uint8Array.from({ length: 256 }, (_, code) => code);
for (const [index, letter] of [...'btnvfr'].entries()) letters[letter.charCodeAt(0)] = 0x08 + index;

/** Makes buffers for `withoutEscapes`. @param length of the longest text, in bytes */
export function makeUnescaped(length: number): Unescaped {
  // An escape is never shorter than its character. Each escape, and each stretch between two escapes, has one mark.
  return {
    ...makeSpace(length),
    length: 0,
    marks: new Int32Array(2 * length + 4),
    marked: 0,
    isNested: false,
  };
}

/** Escapes that are decoded: `%41` as in a URL, `\u0041` as in JSON and as Node.js shows text, or both at once. */
export type Escapes = 'percent' | 'backslash' | 'both';

/**
 * Returns the ways to decode a text. In a text with both signs one of them may be a character of a value, so that each kind is
 * also decoded alone.
 */
export function escapesIn(text: Buffer): Escapes[] {
  if (!text.includes(backslash)) return ['percent'];
  return text.includes(percent) ? ['percent', 'backslash', 'both'] : ['backslash'];
}

/**
 * Decodes escapes.
 * @param into buffers for a text that is at least as long
 */
export function withoutEscapes(text: Buffer, into: Unescaped, escapes: Escapes): void {
  const { bytes, marks } = into;
  const end = text.length;
  const signs = new Signs(text);
  let isNested = false;
  let length = 0;
  let marked = 0;
  for (let at = 0; at < end; ) {
    marks[marked] = length;
    marks[marked + 1] = at;
    marked += 2;
    const code = text[at] as number;
    if (code === percent && escapes !== 'backslash') {
      const value = hex(text, at + 1, 2);
      if (value === percent || value === backslash) isNested = true;
      bytes[length] = value === -1 ? code : value;
      length += 1;
      at += value === -1 ? 1 : 3;
      // Many signs in a row that begin no escape are one stretch.
      for (; value === -1 && text[at] === percent && text[at + 1] === percent; at += 1) {
        bytes[length] = percent;
        length += 1;
      }
    } else if (code === backslash && at + 1 < end && escapes !== 'percent') {
      const letter = text[at + 1] as number;
      const digits = letter === 0x75 ? 4 : letter === 0x78 ? 2 : 0;
      const value = digits === 0 ? -1 : hex(text, at + 2, digits);
      if (value < 0x80) {
        const character = value === -1 ? (letters[letter] as number) : value;
        if (character === percent || character === backslash) isNested = true;
        bytes[length] = character;
        length += 1;
        at += value === -1 ? 2 : 2 + digits;
      } else {
        const low = lowSurrogate(text, at + 6, value);
        length = writeCharacter(
          low === -1 ? value : 0x10000 + ((value - 0xd800) << 10) + low - 0xdc00,
          bytes,
          length,
        );
        at += low === -1 ? 2 + digits : 12;
      }
    } else {
      const stop = Math.min(end, at + shortRun);
      do {
        bytes[length] = text[at] as number;
        length += 1;
        at += 1;
      } while (at < stop && text[at] !== percent && text[at] !== backslash);
      if (at < stop || at === end) continue;
      const next = signs.next(at);
      text.copy(bytes, length, at, next);
      length += next - at;
      at = next;
    }
  }
  marks[marked] = length;
  marks[marked + 1] = end;
  into.marked = marked + 2;
  into.length = length;
  into.isNested = isNested;
}

/** Returns the index in the escaped text for an index in the text without escapes. */
export function escapedIndex({ marks, marked }: Unescaped, index: number): number {
  let [low, high] = [0, marked / 2 - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((marks[2 * middle] as number) <= index) low = middle;
    else high = middle - 1;
  }
  return (marks[2 * low + 1] as number) + index - (marks[2 * low] as number);
}

/** Length of the longest escape: two halves of a character, as in JSON. */
const longestEscape = 12;

/** Returns the index of an unfinished escape at the end of a text; the length of the text if there is none. */
export function unfinishedEscape(text: string): number {
  const [unfinished] =
    /(?:\\u[\da-f]{0,3}|\\x[\da-f]?|\\u[dD][89abAB][\da-f]{2}(?:\\(?:u[\da-f]{0,3})?)?|\\|%[\da-f]?)$/i.exec(
      text.slice(-longestEscape),
    ) ?? [''];
  return text.length - unfinished.length;
}

/** Finds the characters that begin escapes. Searches each part of the text only once. */
export class Signs {
  readonly #text: Buffer;
  readonly #next = { [percent]: -1, [backslash]: -1 };

  constructor(text: Buffer) {
    this.#text = text;
  }

  /** Returns the index of the next sign; the length of the text if there is none. @param from not less than in the last call */
  next(from: number): number {
    return Math.min(this.#nextOf(percent, from), this.#nextOf(backslash, from));
  }

  #nextOf(sign: typeof percent | typeof backslash, from: number): number {
    if (this.#next[sign] < from) {
      const next = this.#text.indexOf(sign, from);
      this.#next[sign] = next === -1 ? this.#text.length : next;
    }
    return this.#next[sign];
  }
}

/** Writes a character as UTF-8. @returns the index after it */
function writeCharacter(character: number, bytes: Buffer, at: number): number {
  let next = at;
  if (character < 0x800) {
    bytes[next++] = 0xc0 | (character >> 6);
  } else {
    if (character < 0x10000) {
      bytes[next++] = 0xe0 | (character >> 12);
    } else {
      bytes[next++] = 0xf0 | (character >> 18);
      bytes[next++] = 0x80 | ((character >> 12) & 63);
    }
    bytes[next++] = 0x80 | ((character >> 6) & 63);
  }
  bytes[next++] = 0x80 | (character & 63);
  return next;
}

/** Returns the second half of a character that has two escapes; -1 if it has one escape. */
function lowSurrogate(text: Buffer, at: number, high: number): number {
  if (high < 0xd800 || high > 0xdbff || text[at] !== backslash || text[at + 1] !== 0x75) return -1;
  const low = hex(text, at + 2, 4);
  return low >= 0xdc00 && low <= 0xdfff ? low : -1;
}

/** Returns the hexadecimal number at `at`; -1 if there is none. */
function hex(text: Buffer, from: number, digits: number): number {
  let value = 0;
  for (let at = from; at < from + digits; at += 1) {
    // After the end of the text there is no digit.
    const nibble = nibbles[text[at] ?? 0] as number;
    if (nibble > 15) return -1;
    value = 16 * value + nibble;
  }
  return value;
}
