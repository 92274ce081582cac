import { createHash } from 'node:crypto';
import { FormIndex, longestPiece, makeSpace, type Range } from './form-index.ts';
import { Forms } from './forms.ts';
import { type Unescaped, withoutBackslashes, withoutPercents } from './unescape.ts';

const mask = '••••••';

/** A shorter value is masked nowhere: the mask would blot out parts of ordinary words and protect next to nothing. */
const shortest = 6;

/** Values that are settings rather than secrets, although they are long enough. */
const ordinary = new Set(
  'production development staging testing preview enabled disabled verbose warning default localhost'.split(
    ' ',
  ),
);

/** How much of a text must be kept for what follows, in bytes: a piece of a value, with each of its bytes escaped. */
export const contextLength = 8 * longestPiece;

/** Escapes inside escapes: JSON in JSON in a URL. */
const deepest = 2;

/** What is kept for the next text, in bytes: usual texts are as long as what is read from a process at a time. */
const mostSpare = 128 * 1024;

/** For the text of one search at a time. */
let scratch = makeSpace(0);

/**
 * Takes secrets out of text. See docs/logs.md for what is masked, and what is not. The time does not grow with the
 * number of secrets, nor with their length; there are no secrets that a masker cannot take.
 *
 * Texts are bytes of UTF-8, one a character (latin1), unless a method says otherwise.
 */
export class Masker {
  readonly #index: FormIndex | null;
  /** how a text may be escaped so that a secret in it looks otherwise */
  readonly #escapes: Escapes[];

  constructor(secrets: Iterable<string>) {
    const all = new Set(secrets);
    const passwords = [...all].flatMap(passwordsIn);
    const lines = [...all].flatMap((value) => value.split(/\r?\n/).map((line) => line.trim()));
    const plain = new Set([...lines, ...passwords].filter(isSecret));
    const encoded = new Set([...[...all].map((value) => value.trim()), ...passwords].filter(isSecret));
    const forms = new Forms(plain, encoded);
    this.#index = forms.list.length === 0 ? null : new FormIndex(forms);
    const has = (pattern: RegExp) => [...plain].some((value) => pattern.test(value));
    // Base64 has characters that are escaped in a URL, whatever it is base64 of.
    this.#escapes = [{ signs: has(/ /) ? [0x25, 0x2b] : [0x25], without: withoutPercents }];
    if (has(/["'`\\]|[^ -~]/)) this.#escapes.push({ signs: [0x5c], without: withoutBackslashes });
  }

  /**
   * @param before what came right before, `contextLength` bytes of it: of a value that begins in it, the rest is masked
   */
  mask(text: string, before = ''): string {
    const index = this.#index;
    if (index === null || text === '') return text;
    const length = load(before, text);
    const ranges: Range[] = [];
    index.find(scratch, length, ranges);
    this.#findEscaped(index, scratch.bytes.subarray(0, length), ranges);
    return ranges.length === 0 ? text : replace(text, before.length, ranges);
  }

  /** Whether there is nothing to mask. */
  get isIdle(): boolean {
    return this.#index === null;
  }

  /** The same for ordinary text. */
  maskText(text: string): string {
    if (this.#index === null) return text;
    const bytes = Buffer.from(text).toString('latin1');
    const masked = this.mask(bytes);
    return masked === bytes ? text : Buffer.from(masked, 'latin1').toString();
  }

  /**
   * Where a secret begins whose rest may follow; the length of the text where none does. Less than two characters of it,
   * or less than six at the end of a line, are no sign of a secret.
   */
  openFrom(text: string, before: string): number {
    if (this.#index === null) return text.length;
    const last = lastOf(before, text);
    const where = text.endsWith('\n') ? 'line' : 'amidLine';
    const open = this.#index.openFrom(scratch.bytes, load('', last), where);
    return Math.max(0, text.length - last.length + open);
  }

  /** Adds the ranges of `text` where something stands that is a secret without its escapes. */
  #findEscaped(index: FormIndex, text: Buffer, ranges: Range[], depth = 1): void {
    for (const { signs, without } of this.#escapes) {
      for (const lines of linesWith(signs, text)) {
        const space = takeSpace(lines.end - lines.start);
        const { bytes, at } = space;
        const length = without(text.subarray(lines.start, lines.end), space);
        const found: Range[] = [];
        index.find(space, length, found);
        if (depth < deepest) this.#findEscaped(index, bytes.subarray(0, length), found, depth + 1);
        for (const { start, end } of found) {
          ranges.push({
            start: lines.start + (at[start] as number),
            end: lines.start + (at[end] as number),
          });
        }
        giveSpace(space);
      }
    }
  }
}

interface Escapes {
  /** one or two characters without which nothing is escaped */
  signs: number[];
  /** @returns the length of what it comes to */
  without: (text: Buffer, into: Unescaped) => number;
}

/** Used again and again: to make it for each text takes longer than to fill it. */
const spare: Unescaped[] = [];

/** No escape is shorter than what it stands for. */
function takeSpace(length: number): Unescaped {
  const space = spare.pop();
  if (space !== undefined && space.bytes.length >= length) return space;
  return { ...makeSpace(length), at: new Int32Array(length + 1) };
}

function giveSpace(space: Unescaped): void {
  if (spare.length < deepest && space.bytes.length <= mostSpare) spare.push(space);
}

/** What must be kept of `before` and `text` for what follows. */
export function lastOf(before: string, text: string): string {
  return text.length >= contextLength ? text.slice(-contextLength) : (before + text).slice(-contextLength);
}

/** @returns how many bytes both have */
function load(before: string, text: string): number {
  const length = before.length + text.length;
  if (scratch.bytes.length < length) scratch = makeSpace(2 * length);
  scratch.bytes.write(before, 'latin1');
  scratch.bytes.write(text, before.length, 'latin1');
  return length;
}

function passwordsIn(value: string): string[] {
  if (!URL.canParse(value)) return [];
  const { password } = new URL(value);
  return [password, decode(password)];
}

/** A password with a bare `%` in it is no valid encoding and stands for itself. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function isSecret(value: string): boolean {
  return value.length >= shortest && !ordinary.has(value.toLowerCase()) && !/^[+-]?[\d.]{1,9}$/.test(value);
}

/** Lines that have one of `signs`, those that follow one another as one range: most lines have none, and are read once. */
function linesWith(signs: number[], text: Buffer): Range[] {
  const lines: Range[] = [];
  if (!signs.some((sign) => text.includes(sign))) return lines;
  const [first, second = first] = signs;
  let start = 0;
  let has = false;
  for (let at = 0; at <= text.length; at += 1) {
    const code = at === text.length ? lineEnd : text[at];
    if (code === first || code === second) has = true;
    if (code !== lineEnd) continue;
    const last = lines.at(-1);
    if (has && last?.end === start) last.end = at + 1;
    else if (has) lines.push({ start, end: at + 1 });
    has = false;
    start = at + 1;
  }
  const last = lines.at(-1);
  if (last !== undefined) last.end = Math.min(last.end, text.length);
  return lines;
}

const lineEnd = 0x0a;

/** @param offset of the text in what the ranges are of */
function replace(text: string, offset: number, ranges: Range[]): string {
  let result = '';
  let done = 0;
  for (const { start, end } of merged(ranges)) {
    const [from, to] = [Math.max(start - offset, done), end - offset];
    if (to <= from) continue;
    // Lines stay as many as they are.
    const masked = text.slice(from, to).split('\n').map(maskLine).join('\n');
    result += text.slice(done, from) + masked;
    done = to;
  }
  return result + text.slice(done);
}

function maskLine(line: string): string {
  return /\S/.test(line) ? maskAsBytes : line;
}

const maskAsBytes = Buffer.from(mask).toString('latin1');

/** In order; those that overlap are one. */
function merged(ranges: Range[]): Range[] {
  const result: Range[] = [];
  for (const { start, end } of ranges.toSorted((a, b) => a.start - b.start)) {
    const last = result.at(-1);
    if (last === undefined || start >= last.end) result.push({ start, end });
    else last.end = Math.max(last.end, end);
  }
  return result;
}

/** by a digest of the secrets: those of a list that was read twice are the same */
const shared = new Map<string, WeakRef<Masker>>();
/** The digest of a list that was seen before: a list does not change. */
const digests = new WeakMap<string[], string>();
const unused = new FinalizationRegistry<string>((digest) => {
  if (shared.get(digest)?.deref() === undefined) shared.delete(digest);
});

/**
 * One masker for all processes that have the same secrets: it may take megabytes.
 * @param secrets must not change afterwards
 */
export function sharedMasker(secrets: string[]): Masker {
  const digest = digests.get(secrets) ?? createHash('sha256').update(JSON.stringify(secrets)).digest('hex');
  digests.set(secrets, digest);
  let masker = shared.get(digest)?.deref();
  if (masker === undefined) {
    masker = new Masker(secrets);
    shared.set(digest, new WeakRef(masker));
    unused.register(masker, digest);
  }
  return masker;
}
