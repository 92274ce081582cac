import { createHash } from 'node:crypto';
import { AppError } from '../../../errors/app-error.ts';
import { FormIndex, makeSpace, type Origin, type Range, type Space, slack } from './form-index.ts';
import { Forms } from './forms.ts';
import {
  escapedIndex,
  escapesIn,
  hasSign,
  makeUnescaped,
  type Unescaped,
  unfinishedEscape,
  withoutEscapes,
} from './unescape.ts';
import { maxPieceLength } from './windows.ts';

const mask = '••••••';

/** Length of the shortest masked value: a mask for shorter values would hide parts of ordinary words and protect little. */
const minLength = 6;

/** Values that are long enough but are common settings, not secrets. */
const ordinary = new Set(
  'production development staging testing preview enabled disabled verbose warning default localhost'.split(
    ' ',
  ),
);

/** Length of the text to keep for the next search, in bytes: a piece of a value, with each of its bytes escaped. */
const contextLength = 8 * maxPieceLength;

/** Levels of escapes that are searched, such as JSON in a URL. */
const deepest = 2;

/** Largest buffer that is kept for later texts, in bytes. Usual texts fit: they are as long as one read from a process. */
const maxSpare = 128 * 1024;

/** Buffer for the text of a search; searches do not overlap. */
let scratch = makeSpace(0);

/**
 * Masks secrets in text; docs/masking.md lists the forms that are masked. The time hardly grows with the number or the length of
 * the secrets. A masker takes any secrets.
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
   * @param before the last `contextLength` bytes before `text`: if a value begins there, its rest in `text` is masked
   * @param after first bytes after `text`, if they are known: a value that ends there may be too short without them
   */
  mask(text: string, before = '', after = ''): string {
    const index = this.#index;
    if (index === null || text === '') return text;
    const length = load(before, after === '' ? text : text + after.slice(0, contextLength));
    const ranges: Range[] = [];
    if (!hasSign(scratch.bytes.subarray(0, length))) {
      index.find(scratch, length, ranges);
    } else if (!this.#findDecoded(index, scratch, length, ranges)) {
      index.find(scratch, length, ranges);
      this.#findEscaped(index, scratch, length, ranges);
    }
    return ranges.length === 0 ? text : replace(text, before.length, ranges);
  }

  /** True if there is nothing to mask. */
  get isIdle(): boolean {
    return this.#index === null;
  }

  /** Masks ordinary text, not bytes. @param isCut true if the text may end amid a secret */
  maskText(text: string, isCut = false): string {
    if (this.#index === null) return text;
    const bytes = Buffer.from(text).toString('latin1');
    const whole = this.mask(bytes);
    const masked = isCut ? this.maskUnfinished(whole) : whole;
    return masked === bytes ? text : Buffer.from(masked, 'latin1').toString();
  }

  /**
   * Returns the index at which a secret begins whose rest may follow; the length of the text if there is none. A beginning
   * counts if it has two characters, or six at the end of a line.
   */
  openFrom(text: string, before: string): number {
    if (this.#index === null) return text.length;
    const last = lastOf(before, text);
    const where = text.endsWith('\n') ? 'line' : 'amidLine';
    const length = load('', last);
    let open = this.#index.openFrom(scratch.bytes, length, where);
    if (where === 'amidLine') open = Math.min(open, this.#openEscaped(this.#index, scratch, length));
    return Math.max(0, text.length - last.length + open);
  }

  /**
   * Masks an unfinished secret of six characters or more at the end of a masked text that nothing follows: its process may have
   * ended amid a write.
   */
  maskUnfinished(text: string, before = ''): string {
    const open = text.endsWith('\n') ? text.length : this.openFrom(text, before);
    return text.length - open < minLength ? text : text.slice(0, open) + maskAsBytes;
  }

  /**
   * Adds the ranges of `text` that are a secret once all escapes are decoded.
   * @param length of the text, in bytes
   * @param origin of indexes in `text`, if its escapes were decoded before
   * @returns false if `text` may have other secrets where an escape is not decoded
   */
  #findDecoded(
    index: FormIndex,
    text: Space,
    length: number,
    ranges: Range[],
    origin: Origin = (at) => at,
    depth = 1,
  ): boolean {
    const space = takeSpace(length);
    withoutEscapes(text, length, space, 'both');
    const found: Range[] = [];
    const inText: Origin = (at) => origin(escapedIndex(space, at));
    const isSure =
      !index.mayHaveEscapes(text.bytes, space) &&
      (space.isNested && depth < deepest
        ? this.#findDecoded(index, space, space.length, found, inText, depth + 1)
        : index.find(space, space.length, found, inText));
    for (const { start, end } of found) {
      ranges.push({ start: escapedIndex(space, start), end: escapedIndex(space, end) });
    }
    giveSpace(space);
    return isSure;
  }

  /** Adds the ranges of `text` that are a secret with each way to decode escapes. @param length of the text, in bytes */
  #findEscaped(index: FormIndex, text: Space, length: number, ranges: Range[], depth = 1): void {
    for (const escapes of escapesIn(text.bytes.subarray(0, length))) {
      const space = takeSpace(length);
      withoutEscapes(text, length, space, escapes);
      const found: Range[] = [];
      index.find(space, space.length, found);
      if (space.isNested && depth < deepest) this.#findEscaped(index, space, space.length, found, depth + 1);
      for (const { start, end } of found) {
        ranges.push({ start: escapedIndex(space, start), end: escapedIndex(space, end) });
      }
      giveSpace(space);
    }
  }

  /**
   * Returns the index at which an escaped secret begins whose rest may follow; the length of the text if there is none.
   * @param length of the text, in bytes
   */
  #openEscaped(index: FormIndex, text: Space, length: number, depth = 1): number {
    const whole = unfinishedEscape(text.bytes, length);
    if (whole === length && !hasSign(text.bytes.subarray(0, length))) return whole;
    let found = whole;
    for (const escapes of escapesIn(text.bytes.subarray(0, whole))) {
      const space = takeSpace(whole);
      withoutEscapes(text, whole, space, escapes);
      let open = index.openFrom(space.bytes, space.length, 'amidLine');
      if (space.isNested && depth < deepest) {
        open = Math.min(open, this.#openEscaped(index, space, space.length, depth + 1));
      }
      // A secret may begin with an unfinished escape at the end.
      if (open < space.length) found = Math.min(found, escapedIndex(space, open));
      giveSpace(space);
    }
    return found;
  }
}

/** Buffers to use again: to allocate a buffer for each text takes longer than to fill it. */
const spare: Unescaped[] = [];

function takeSpace(length: number): Unescaped {
  const space = spare.pop();
  return space !== undefined && space.bytes.length >= length + slack ? space : makeUnescaped(length);
}

function giveSpace(space: Unescaped): void {
  if (spare.length < deepest && space.bytes.length <= maxSpare) spare.push(space);
}

/** Returns the end of `before` and `text` that must be kept for the next search. */
export function lastOf(before: string, text: string): string {
  return text.length >= contextLength ? text.slice(-contextLength) : (before + text).slice(-contextLength);
}

/** Loads both texts into the buffer. @returns their length, in bytes */
function load(before: string, text: string): number {
  const length = before.length + text.length;
  if (scratch.bytes.length < length + slack) scratch = makeSpace(2 * length);
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

/** Returns a value as it is, as in a form, and without its own escapes: text is searched without escapes, too. */
function spellings(value: string): string[] {
  return [value, value.replaceAll(' ', '+'), value.replaceAll(/(?:%[\da-f]{2})+/gi, decode)];
}

function isSecret(value: string): boolean {
  return value.length >= minLength && !ordinary.has(value.toLowerCase()) && !/^[+-]?[\d.]{1,9}$/.test(value);
}

/** @param offset index of `text` in the bytes that the ranges refer to */
function replace(text: string, offset: number, ranges: Range[]): string {
  let result = '';
  let done = 0;
  for (const { start, end } of merged(ranges)) {
    const [from, to] = [Math.max(start - offset, done), Math.min(end - offset, text.length)];
    if (to <= from) continue;
    const secret = text.slice(from, to);
    // The number of lines stays the same.
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

/** Sorts ranges, and joins ranges that overlap. */
function merged(ranges: Range[]): Range[] {
  const result: Range[] = [];
  for (const { start, end } of ranges.toSorted((a, b) => a.start - b.start)) {
    const last = result.at(-1);
    if (last === undefined || start >= last.end) result.push({ start, end });
    else last.end = Math.max(last.end, end);
  }
  return result;
}

/** Maskers by a digest of their secrets: equal lists share a masker. */
const shared = new Map<string, WeakRef<Masker>>();

/** Returns the one masker for all processes with the same secrets: a masker may take megabytes. */
export function sharedMasker(secrets: string[]): Masker {
  const digest = createHash('sha256').update(JSON.stringify(secrets)).digest('hex');
  const known = shared.get(digest)?.deref();
  if (known !== undefined) return known;
  for (const [old, masker] of shared) if (masker.deref() === undefined) shared.delete(old);
  const masker = new Masker(secrets);
  shared.set(digest, new WeakRef(masker));
  return masker;
}

/** Returns an AppError without secrets in its message, which may quote the output of an app or a build. */
export function maskError(error: unknown, masker: Masker): unknown {
  if (!(error instanceof AppError)) return error;
  const { code, message, hint, cause } = error;
  return new AppError(code, masker.maskText(message), { hint: masker.maskText(hint), cause });
}
