/** Tables for reading text, with one entry for each byte. */

/** True for spaces and line ends, which the search skips: a value is found even if it is wrapped or indented. */
export const isSpace = new Uint8Array(256);
for (const code of [0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20]) isSpace[code] = 1;

export const backslash = 0x5c;
export const percent = 0x25;

/** True for the characters that begin escapes. */
export const isSign = new Uint8Array(256);
for (const code of [backslash, percent]) isSign[code] = 1;

export const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
export const digits = '0123456789abcdef';

/** Six bits for each character of base64 and base64url; 255 for other characters. */
export const sextets = new Uint8Array(256).fill(255);
for (const [value, character] of [...alphabet].entries()) sextets[character.charCodeAt(0)] = value;
sextets['-'.charCodeAt(0)] = 62;
sextets['_'.charCodeAt(0)] = 63;

/** More than any number of four hexadecimal digits. */
export const noNumber = 0x10000;

/** Four bits for each hexadecimal digit, in either case; `noNumber` for other characters. */
export const nibbles = new Int32Array(256).fill(noNumber);
for (const [value, character] of [...digits].entries()) {
  nibbles[character.charCodeAt(0)] = value;
  nibbles[character.toUpperCase().charCodeAt(0)] = value;
}

/** Number of symbols that one hash covers. */
export const windowLength = 5;

/** Bits by which a hash moves for each symbol: a symbol no longer counts after `windowLength` later symbols. */
export const step = 7;

/**
 * A rolling hash reads the character `c` by `hash = (hash << shifts[c]) ^ mixes[c]`. Upper and lower case, and the
 * variants of base64, have the same hash: a hexadecimal or base64 form needs one entry in an index.
 */
export const shifts = new Uint8Array(256);
export const mixes = new Int32Array(256);
for (let code = 0; code < 256; code += 1) {
  if (isSpace[code]) continue;
  shifts[code] = step;
  mixes[code] = scramble(folded(code));
}

/** Stands for spaces, and for the signs of escapes. */
export const blank = 0x20;

/** One character for all characters with the same hash. */
export const folds = Uint8Array.from({ length: 256 }, (_, code) =>
  isSpace[code] || isSign[code] ? blank : folded(code),
);

interface PairTables {
  shifts: Uint8Array;
  mixes: Int32Array;
}

let tables: PairTables | undefined;

/** Tables for two adjacent characters; the first is the lower byte of the index. Built at the first use. */
export function pairTables(): PairTables {
  tables ??= makePairTables();
  return tables;
}

function makePairTables(): PairTables {
  const made = { shifts: new Uint8Array(2 ** 16), mixes: new Int32Array(2 ** 16) };
  for (let pair = 0; pair < 2 ** 16; pair += 1) {
    const [one, other] = [pair & 255, pair >> 8];
    made.shifts[pair] = (shifts[one] as number) + (shifts[other] as number);
    made.mixes[pair] = ((mixes[one] as number) << (shifts[other] as number)) ^ (mixes[other] as number);
  }
  return made;
}

function folded(code: number): number {
  if (code === 0x2d) return 0x2b;
  if (code === 0x5f) return 0x2f;
  return code >= 0x41 && code <= 0x5a ? code + 0x20 : code;
}

/** Returns well-mixed bits for a small number (the finalizer of MurmurHash3). */
function scramble(code: number): number {
  let hash = Math.imul(code + 1, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** Spreads a hash over 32 bits, whose upper bits are well mixed. */
export function spread(hash: number): number {
  return Math.imul(hash, 0x9e3779b1);
}
