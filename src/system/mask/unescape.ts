import type { Space } from './form-index.ts';
import { nibbles } from './symbols.ts';

/** A text without its escapes, and where each of its bytes stood. */
export interface Unescaped extends Space {
  /** one entry more than there are bytes: where the last one ended */
  at: Int32Array;
}

const backslash = 0x5c;
const percent = 0x25;
const plus = 0x2b;

/** Characters that a letter stands for after a backslash, in JSON and in JavaScript; others stand for themselves. */
const letters = new Map([...'btnvfr'].map((letter, index) => [letter.charCodeAt(0), 0x08 + index]));

/**
 * Decodes escapes as in JSON, and as Node.js shows text.
 * @param into made for a text of this length at least
 * @returns the length of what it comes to
 */
export function withoutBackslashes(text: Buffer, into: Unescaped): number {
  const { bytes, at: positions } = into;
  let length = 0;
  for (let at = 0; at < text.length; ) {
    const code = text[at] as number;
    positions[length] = at;
    at += 1;
    if (code !== backslash || at === text.length) {
      bytes[length] = code;
      length += 1;
      continue;
    }
    const { character, end } = escaped(text, at);
    if (character < 0x80) {
      bytes[length] = character;
      length += 1;
    } else {
      const written = bytes.write(String.fromCodePoint(character), length);
      positions.fill(at - 1, length, length + written);
      length += written;
    }
    at = end;
  }
  positions[length] = text.length;
  return length;
}

/** Decodes escapes as in a URL, or in a form. Parameters and result as above. */
export function withoutPercents(text: Buffer, into: Unescaped): number {
  const { bytes, at: positions } = into;
  let length = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text[at] as number;
    positions[length] = at;
    const value = code === percent ? hex(text, at + 1, 2) : -1;
    if (value !== -1) at += 2;
    bytes[length] = value !== -1 ? value : code === plus ? 0x20 : code;
    length += 1;
  }
  positions[length] = text.length;
  return length;
}

/** What stands at `at`, after a backslash, and where it ends. */
function escaped(text: Buffer, at: number): { character: number; end: number } {
  const letter = text[at] as number;
  const digits = letter === 0x75 ? 4 : letter === 0x78 ? 2 : 0;
  const value = digits === 0 ? -1 : hex(text, at + 1, digits);
  if (value === -1) return { character: letters.get(letter) ?? letter, end: at + 1 };
  const end = at + 1 + digits;
  const isHigh = value >= 0xd800 && value < 0xdc00;
  const low = isHigh && text[end] === backslash && text[end + 1] === 0x75 ? hex(text, end + 2, 4) : -1;
  if (low < 0xdc00 || low > 0xdfff) return { character: value, end };
  return { character: 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00), end: end + 6 };
}

/** -1 where there is no such number. */
function hex(text: Buffer, from: number, digits: number): number {
  if (from + digits > text.length) return -1;
  let value = 0;
  for (let at = from; at < from + digits; at += 1) {
    const nibble = nibbles[text[at] as number] as number;
    if (nibble > 15) return -1;
    value = 16 * value + nibble;
  }
  return value;
}
