import { makeSpace, type Space, slack } from './form-index.ts';
import { backslash, isSign, nibbles, noNumber, percent } from './symbols.ts';

/** Text without its escapes. */
export interface Unescaped extends Space {
  /** number of bytes */
  length: number;
  /** for the beginning, and for each escape, the index behind it in `bytes` and in the text */
  marks: Int32Array;
  /** number of used entries in `marks` */
  marked: number;
  /** true if an escape stands for a character that may begin another escape */
  isNested: boolean;
}

/** Characters by their letter after a backslash, in JSON and in JavaScript. Other letters stand for themselves. */
const letters = Uint8Array.from({ length: 256 }, (_, code) => code);
for (const [index, letter] of [...'btnvfr'].entries()) letters[letter.charCodeAt(0)] = 0x08 + index;

const backslashes = 0x5c5c5c5c;
const percents = 0x25252525;

/** Makes buffers for `withoutEscapes`. @param length of the longest text, in bytes */
export function makeUnescaped(length: number): Unescaped {
  // An escape has two bytes or more, and is never shorter than its character.
  return { ...makeSpace(length), length: 0, marks: new Int32Array(length + 4), marked: 0, isNested: false };
}

/** Escapes that are decoded: `%41` as in a URL, `\u0041` as in JSON and as Node.js shows text, or both at once. */
type Escapes = 'percent' | 'backslash' | 'both';

/** Returns true if a text may have escapes. */
export function hasSign(text: Buffer): boolean {
  return text.includes(backslash) || text.includes(percent);
}

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
 * @param end length of the text, in bytes
 * @param into buffers for a text that is at least as long
 */
export function withoutEscapes(text: Space, end: number, into: Unescaped, escapes: Escapes): void {
  const { bytes: source, words: sourceWords } = text;
  const { bytes, words, marks } = into;
  // Zeros are no part of an escape, so an escape ends with the text.
  source.fill(0, end, end + slack);
  let isNested = false;
  let marked = 2;
  let length = 0;
  let at = 0;
  while (at < end) {
    const clean = copyClean(sourceWords, at, end, words, length);
    at += clean;
    length += clean;
    if (at === end) break;
    // A sign that begins no escape stands for itself, as does the sign of the other kind.
    const code = source[at];
    let size = 1;
    let next = length + 1;
    if (code === percent && escapes !== 'backslash') {
      const value = hex2(source, at + 1);
      if (value <= 0xff) {
        bytes[length] = value;
        size = 3;
      }
    } else if (code === backslash && escapes !== 'percent' && at + 1 < end) {
      const letter = source[at + 1] as number;
      const value =
        letter === 0x75 ? hex4(source, at + 2) : letter === 0x78 ? hex2(source, at + 2) : noNumber;
      if (value >= noNumber) {
        bytes[length] = letters[letter] as number;
        size = 2;
      } else {
        const low = lowSurrogate(source, at + 6, value);
        const character = low === -1 ? value : 0x10000 + ((value - 0xd800) << 10) + low - 0xdc00;
        next = writeCharacter(character, bytes, length);
        size = low !== -1 ? 12 : letter === 0x75 ? 6 : 4;
      }
    }
    at += size;
    length = next;
    if (size === 1) continue;
    if (isSign[bytes[length - 1] as number]) isNested = true;
    marks[marked] = length;
    marks[marked + 1] = at;
    marked += 2;
  }
  into.marked = marked;
  into.length = length;
  into.isNested = isNested;
}

/** Copies bytes up to a sign, or to `end`: four at a time, so some more bytes, too. @returns the number of bytes up to there */
function copyClean(from: DataView, start: number, end: number, to: DataView, at: number): number {
  const shift = at - start;
  for (let index = start; index < end; index += 4) {
    const word = from.getInt32(index, true);
    to.setInt32(index + shift, word, true);
    const found = zeroBytes(word ^ backslashes) | zeroBytes(word ^ percents);
    if (found !== 0) return index - start + ((31 - Math.clz32(found & -found)) >> 3);
  }
  return end - start;
}

/** Returns a number whose lowest bit is set at the lowest byte that is zero; 0 if there is none. */
function zeroBytes(word: number): number {
  return (word - 0x01010101) & ~word & 0x80808080;
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
const maxEscapeLength = 12;

/** Returns the index of an unfinished escape at the end of a text; the length of the text if there is none. */
export function unfinishedEscape(text: Buffer, length: number): number {
  const [unfinished] =
    /(?:\\u[\da-f]{0,3}|\\x[\da-f]?|\\u[dD][89abAB][\da-f]{2}(?:\\(?:u[\da-f]{0,3})?)?|\\|%[\da-f]?)$/i.exec(
      text.toString('latin1', Math.max(0, length - maxEscapeLength), length),
    ) ?? [''];
  return length - unfinished.length;
}

/** Writes a character as UTF-8. @returns the index after it */
function writeCharacter(character: number, bytes: Buffer, at: number): number {
  let next = at;
  if (character < 0x80) {
    bytes[next++] = character;
    return next;
  }
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
  const low = hex4(text, at + 2);
  return low >= 0xdc00 && low <= 0xdfff ? low : -1;
}

/** Reads two hexadecimal digits at `at`. @returns their number; `noNumber` or more if one of them is no digit */
function hex2(text: Buffer, at: number): number {
  return ((nibbles[text[at] as number] as number) << 4) | (nibbles[text[at + 1] as number] as number);
}

/** Reads four hexadecimal digits at `at`. @returns their number; `noNumber` or more if one of them is no digit */
function hex4(text: Buffer, at: number): number {
  return (hex2(text, at) << 8) | hex2(text, at + 2);
}
