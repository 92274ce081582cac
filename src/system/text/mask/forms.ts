import type { Range } from './form-index.ts';
import { alphabet, digits, isSign, isSpace, nibbles, sextets, windowLength } from './symbols.ts';

/** Kind of a form. 0 to 2: base64 of a text with this number of bytes, modulo 3, before the value. */
type Kind = 'plain' | 'hex' | 0 | 1 | 2;

/** One spelling of a value: its bytes without spaces, or their base64 or hexadecimal digits. */
export interface Form {
  kind: Kind;
  /** index of the first byte in the pool; `bytes` is the number of bytes */
  start: number;
  bytes: number;
  /** number of symbols that depend only on these bytes */
  length: number;
}

/** Forms of all values. They share one pool of bytes, because there may be 100,000 forms. */
export class Forms {
  readonly list: Form[] = [];
  #pool = Buffer.alloc(0);

  /**
   * @param plain texts that are masked as they are written
   * @param encoded texts that are masked in base64 and in hexadecimal digits, too
   */
  constructor(plain: Iterable<string>, encoded: Iterable<string>) {
    const parts: Buffer[] = [];
    let start = 0;
    const add = (part: Buffer): Omit<Form, 'kind' | 'length'> => {
      parts.push(part);
      start += part.length;
      return { start: start - part.length, bytes: part.length };
    };
    for (const text of plain) {
      const symbols = Buffer.from(text).filter((byte) => !isSpace[byte]) as Buffer;
      if (symbols.length <= windowLength) continue;
      const place = add(symbols);
      this.list.push({ kind: 'plain', ...place, length: place.bytes });
    }
    for (const text of encoded) {
      const place = add(Buffer.from(text));
      this.list.push({ kind: 'hex', ...place, length: 2 * place.bytes });
      for (const kind of [0, 1, 2] as const) {
        const length = Math.floor((8 * (kind + place.bytes)) / 6) - firstWhole(kind);
        this.list.push({ kind, ...place, length });
      }
    }
    this.#pool = Buffer.concat(parts);
  }

  /** Returns the symbol at `index` as a character, in one of its spellings. */
  character({ kind, start, bytes }: Form, index: number): number {
    if (kind === 'plain') return this.#pool[start + index] as number;
    if (kind === 'hex') return digits.charCodeAt(this.#nibble(start, index));
    return alphabet.charCodeAt(this.#sextet(kind, start, bytes, index));
  }

  /** Returns true if the character `code` of a text can be the symbol at `index`. */
  has({ kind, start, bytes }: Form, index: number, code: number): boolean {
    if (kind === 'plain') return this.#pool[start + index] === code;
    if (kind === 'hex') return nibbles[code] === this.#nibble(start, index);
    return sextets[code] === this.#sextet(kind, start, bytes, index);
  }

  /** Returns true if the sign of an escape is a symbol from `first` to `last`. */
  hasSign(form: Form, first: number, last: number): boolean {
    if (form.kind !== 'plain') return false;
    return this.#pool.subarray(form.start + first, form.start + last + 1).some((code) => isSign[code]);
  }

  /**
   * Extends a range of base64 by the padding, and by the characters at its ends that depend on only some bits of the value.
   * @param fromStart whether the range begins with the first symbol
   * @param toEnd whether it ends with the last one
   */
  withRaggedEnds(
    { kind, bytes }: Form,
    range: Range,
    fromStart: boolean,
    toEnd: boolean,
    text: Buffer,
    length: number,
  ): Range {
    if (typeof kind !== 'number') return range;
    const isDigit = (at: number) => at >= 0 && at < length && sextets[text[at] as number] !== 255;
    let { start, end } = range;
    if (fromStart && kind !== 0 && isDigit(start - 1)) start -= 1;
    if (toEnd && (8 * (kind + bytes)) % 6 !== 0 && isDigit(end)) end += 1;
    while (toEnd && end < length && end < range.end + 3 && text[end] === 0x3d) end += 1;
    return { start, end };
  }

  #nibble(start: number, index: number): number {
    const byte = this.#pool[start + (index >> 1)] as number;
    return (index & 1) === 0 ? byte >> 4 : byte & 15;
  }

  #sextet(before: 0 | 1 | 2, start: number, bytes: number, index: number): number {
    const bit = 6 * (index + firstWhole(before)) - 8 * before;
    const at = bit >> 3;
    const next = at + 1 < bytes ? (this.#pool[start + at + 1] as number) : 0;
    return ((((this.#pool[start + at] as number) << 8) | next) >> (10 - (bit & 7))) & 63;
  }
}

/** Returns the index of the first base64 symbol that does not depend on the bytes before the value. */
function firstWhole(before: 0 | 1 | 2): number {
  return Math.ceil((8 * before) / 6);
}
