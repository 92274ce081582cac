import { createHash } from 'node:crypto';
import { FormIndex, longestPiece, makeSpace, type Range } from './form-index.ts';
import { Forms } from './forms.ts';
import {
  escapedIndex,
  makeUnescaped,
  Signs,
  type Unescaped,
  unfinishedEscape,
  withoutEscapes,
} from './unescape.ts';

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

  constructor(secrets: Iterable<string>) {
    const all = new Set(secrets);
    const passwords = [...all].flatMap(passwordsIn);
    const lines = [...all].flatMap((value) => value.split(/\r?\n/).map((line) => line.trim()));
    const plain = new Set([...lines, ...passwords].flatMap(spellings).filter(isSecret));
    const encoded = new Set([...[...all].map((value) => value.trim()), ...passwords].filter(isSecret));
    const forms = new Forms(plain, encoded);
    this.#index = forms.list.length === 0 ? null : new FormIndex(forms);
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
    const length = load('', last);
    let open = this.#index.openFrom(scratch.bytes, length, where);
    if (where === 'amidLine') open = Math.min(open, this.#openEscaped(this.#index, last));
    return Math.max(0, text.length - last.length + open);
  }

  /** Adds the ranges of `text` where something stands that is a secret without its escapes. */
  #findEscaped(index: FormIndex, text: Buffer, ranges: Range[], depth = 1): void {
    for (const { start, end } of linesWithEscapes(text)) {
      const space = takeSpace(end - start);
      withoutEscapes(text.subarray(start, end), space);
      const found: Range[] = [];
      index.find(space, space.length, found);
      if (space.isNested && depth < deepest) {
        this.#findEscaped(index, space.bytes.subarray(0, space.length), found, depth + 1);
      }
      for (const range of found) {
        ranges.push({
          start: start + escapedIndex(space, range.start),
          end: start + escapedIndex(space, range.end),
        });
      }
      giveSpace(space);
    }
  }

  /** Where a secret with escapes begins that the text does not end; the length of the text where none does. */
  #openEscaped(index: FormIndex, text: string, depth = 1): number {
    const whole = unfinishedEscape(text);
    if (whole === text.length && !/[%\\]/.test(text)) return whole;
    const bytes = Buffer.from(text.slice(0, whole), 'latin1');
    const space = takeSpace(bytes.length);
    withoutEscapes(bytes, space);
    let open = index.openFrom(space.bytes, space.length, 'amidLine');
    if (space.isNested && depth < deepest) {
      open = Math.min(
        open,
        this.#openEscaped(index, space.bytes.toString('latin1', 0, space.length), depth + 1),
      );
    }
    // Without an end of an escape, a secret may begin with this escape.
    const found = open === space.length ? whole : escapedIndex(space, open);
    giveSpace(space);
    return found;
  }
}

/** Used again and again: to make it for each text takes longer than to fill it. */
const spare: Unescaped[] = [];

function takeSpace(length: number): Unescaped {
  const space = spare.pop();
  return space !== undefined && space.bytes.length >= length ? space : makeUnescaped(length);
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

/** A value as it is, as in a form, and without its own escapes: a text that has it is read without escapes, too. */
function spellings(value: string): string[] {
  return [value, value.replaceAll(' ', '+'), value.replaceAll(/(?:%[\da-f]{2})+/gi, decode)];
}

function isSecret(value: string): boolean {
  return value.length >= shortest && !ordinary.has(value.toLowerCase()) && !/^[+-]?[\d.]{1,9}$/.test(value);
}

/** Lines that may have escapes, those that follow one another as one range: most lines have none. */
function* linesWithEscapes(text: Buffer): Iterable<Range> {
  const signs = new Signs(text);
  for (let at = signs.next(0); at < text.length; ) {
    const start = text.lastIndexOf(lineEnd, at) + 1;
    let end = endOfLine(text, at);
    at = signs.next(end);
    while (at < text.length && at < endOfLine(text, end)) {
      end = endOfLine(text, at);
      at = signs.next(end);
    }
    yield { start, end };
  }
}

function endOfLine(text: Buffer, from: number): number {
  const end = text.indexOf(lineEnd, from);
  return end === -1 ? text.length : end + 1;
}

const lineEnd = 0x0a;

/** @param offset of the text in what the ranges are of */
function replace(text: string, offset: number, ranges: Range[]): string {
  let result = '';
  let done = 0;
  for (const { start, end } of merged(ranges)) {
    const [from, to] = [Math.max(start - offset, done), end - offset];
    if (to <= from) continue;
    const secret = text.slice(from, to);
    // Lines stay as many as they are.
    result += text.slice(done, from);
    result += secret.includes('\n') ? secret.split('\n').map(maskLine).join('\n') : maskAsBytes;
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
