import { backslash, isSign, nibbles, noNumber, percent } from './symbols.ts';

/** A text in which some escapes are decoded. */
interface Reading {
  bytes: Buffer;
  /** Returns the index in the text as it is printed for an index in this one. */
  origin: (index: number) => number;
}

/** A reading in buffers with more room. */
interface Space {
  bytes: Buffer;
  /** number of bytes of the reading */
  length: number;
  /** the same bytes in fours at any index */
  words: DataView;
  /** for the beginning, and for each escape, the index behind it in `bytes` and in the text before */
  marks: Int32Array;
  /** number of used entries in `marks` */
  marked: number;
  /** true if it may have escapes: the text itself, and a reading in which an escape stands for the sign of another one */
  hasEscapes: boolean;
}

/** Number of bytes that a buffer has behind its text: more than the longest escape. */
const slack = 16;

/** Levels of escapes that are decoded, such as JSON in a URL. */
const deepest = 2;

/** Largest text whose buffers are kept, in bytes. Usual texts fit: they are as long as one read from a process. */
const maxKept = 128 * 1024;

/** Spaces to use again, one for each level: to allocate a buffer for each text takes longer than to fill it. */
const spaces: Space[] = [];

/**
 * Signs of the escapes that are decoded at once: `%41` as in a URL, `\u0041` as in JSON and as Node.js shows text. In a text
 * with both signs one of them may be a character of a value, so that each kind is also decoded alone.
 */
const kinds = [[percent], [backslash], [percent, backslash]];

/**
 * Returns a text, and the text with its escapes decoded in each possible way. Each reading is valid until the next one.
 * @param isOpen leaves out an unfinished escape at the end where escapes are decoded: its rest may follow
 */
export function readings(text: string, isOpen = false): Generator<Reading> {
  const space = spaceFor(0, text.length);
  space.length = space.bytes.write(text, 'latin1');
  space.hasEscapes = true;
  return decodings(space, isOpen, 0);
}

function* decodings(space: Space, isOpen: boolean, level: number): Generator<Reading> {
  const bytes = space.bytes.subarray(0, space.length);
  yield { bytes, origin: (index) => index };
  if (!space.hasEscapes || level === deepest) return;
  const whole = isOpen ? bytes.subarray(0, unfinishedEscape(bytes)) : bytes;
  for (const signs of kinds) {
    if (!signs.every((sign) => whole.includes(sign))) continue;
    const into = spaceFor(level + 1, whole.length);
    decode(space, whole.length, into, signs);
    for (const inner of decodings(into, isOpen, level + 1)) {
      yield { bytes: inner.bytes, origin: (index) => indexBefore(into, inner.origin(index)) };
    }
  }
}

/** @param length of the text, in bytes */
function spaceFor(level: number, length: number): Space {
  const known = spaces[level];
  if (known !== undefined && known.bytes.length >= length + slack) return known;
  const bytes = Buffer.allocUnsafeSlow(2 * length + slack);
  const words = new DataView(bytes.buffer);
  // An escape has two bytes or more.
  const marks = new Int32Array(2 * length + slack);
  const space = { bytes, length: 0, words, marks, marked: 0, hasEscapes: false };
  if (length <= maxKept) spaces[level] = space;
  return space;
}

/** @param end length of the text, in bytes */
function decode({ bytes: text, words }: Space, end: number, into: Space, signs: number[]): void {
  const { bytes, marks } = into;
  // Zeros are no part of an escape, so an escape ends with the text.
  text.fill(0, end, end + slack);
  let hasEscapes = false;
  let marked = 2;
  let length = 0;
  for (let at = 0; at < end; ) {
    const clean = copyClean(words, at, end, into.words, length);
    at += clean;
    length += clean;
    if (at === end) break;
    // A sign that begins no escape stands for itself, as does the sign of the other kind.
    const size = signs.includes(text[at] as number) ? escapeLength(text, at, end) : 1;
    const character = escapedCharacter(text, at, size);
    // A percent escape stands for a byte, and a backslash may be before any byte.
    if (size <= 3) bytes[length++] = character;
    else length = writeCharacter(bytes, length, character);
    at += size;
    if (size === 1) continue;
    if (isSign[bytes[length - 1] as number]) hasEscapes = true;
    marks[marked] = length;
    marks[marked + 1] = at;
    marked += 2;
  }
  Object.assign(into, { length, marked, hasEscapes });
}

const backslashes = 0x5c5c5c5c;
const percents = 0x25252525;

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

/** Returns the index in a text with escapes for an index in the text without. */
function indexBefore({ marks, marked }: Space, index: number): number {
  let [low, high] = [0, marked / 2 - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((marks[2 * middle] as number) <= index) low = middle;
    else high = middle - 1;
  }
  return (marks[2 * low + 1] as number) + index - (marks[2 * low] as number);
}

/** Returns the length of the escape that begins with the sign at `at`; 1 if there is none, as the sign then stands for itself. */
function escapeLength(text: Buffer, at: number, end: number): number {
  if (text[at] === percent) return hex2(text, at + 1) < noNumber ? 3 : 1;
  if (at + 1 === end) return 1;
  if (text[at + 1] === 0x78) return hex2(text, at + 2) < noNumber ? 4 : 2;
  if (text[at + 1] !== 0x75) return 2;
  const half = hex4(text, at + 2);
  if (half >= noNumber) return 2;
  if (half < 0xd800 || half > 0xdbff || text[at + 6] !== backslash || text[at + 7] !== 0x75) return 6;
  const other = hex4(text, at + 8);
  return other >= 0xdc00 && other <= 0xdfff ? 12 : 6;
}

/** Characters by their letter after a backslash, in JSON and in JavaScript. Other letters stand for themselves. */
const letters = Uint8Array.from({ length: 256 }, (_, code) => code);
for (const [index, letter] of [...'btnvfr'].entries()) letters[letter.charCodeAt(0)] = 0x08 + index;

/** Returns the character that an escape stands for, or the byte at `at` if there is none. */
function escapedCharacter(text: Buffer, at: number, size: number): number {
  if (size === 1) return text[at] as number;
  if (size === 2) return letters[text[at + 1] as number] as number;
  if (size === 3) return hex2(text, at + 1);
  if (size === 4) return hex2(text, at + 2);
  if (size === 6) return hex4(text, at + 2);
  return 0x10000 + ((hex4(text, at + 2) - 0xd800) << 10) + hex4(text, at + 8) - 0xdc00;
}

/** Writes a character as UTF-8. @returns the index after it */
function writeCharacter(bytes: Buffer, at: number, character: number): number {
  let next = at;
  if (character < 0x80) {
    bytes[next++] = character;
    return next;
  }
  let more = 1;
  if (character >= 0x800) more = character < 0x10000 ? 2 : 3;
  // The first byte has as many leading ones as the character has bytes.
  bytes[next++] = (0xff80 >> more) | (character >> (6 * more));
  while (more > 0) {
    more -= 1;
    bytes[next++] = 0x80 | ((character >> (6 * more)) & 63);
  }
  return next;
}

/** Reads two hexadecimal digits at `at`. @returns their number; `noNumber` or more if one of them is no digit */
function hex2(text: Buffer, at: number): number {
  return ((nibbles[text[at] as number] as number) << 4) | (nibbles[text[at + 1] as number] as number);
}

/** Reads four hexadecimal digits at `at`. @returns their number; `noNumber` or more if one of them is no digit */
function hex4(text: Buffer, at: number): number {
  return (hex2(text, at) << 8) | hex2(text, at + 2);
}

/** Length of the longest escape: two halves of a character, as in JSON. */
const maxEscapeLength = 12;

/** Returns the index of an unfinished escape at the end of a text; the length of the text if there is none. */
export function unfinishedEscape(text: Buffer): number {
  const [unfinished] =
    /(?:\\u[\da-f]{0,3}|\\x[\da-f]?|\\u[dD][89abAB][\da-f]{2}(?:\\(?:u[\da-f]{0,3})?)?|\\|%[\da-f]?)$/i.exec(
      text.toString('latin1', Math.max(0, text.length - maxEscapeLength)),
    ) ?? [''];
  return text.length - unfinished.length;
}
