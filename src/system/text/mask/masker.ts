import { createHash } from 'node:crypto';
import { AppError } from '../../../errors/app-error.ts';
import { FormIndex, type Range } from './form-index.ts';
import { Forms } from './forms.ts';
import { readings, unfinishedEscape } from './unescape.ts';
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
    const ranges: Range[] = [];
    const whole = before + text + after.slice(0, contextLength);
    for (const { bytes, origin } of readings(whole)) {
      for (const { start, end } of index.find(bytes)) ranges.push({ start: origin(start), end: origin(end) });
    }
    return ranges.length === 0 ? text : replace(text, before.length, ranges);
  }

  /** True if there is nothing to mask. */
  get isIdle(): boolean {
    return this.#index === null;
  }

  /** Masks ordinary text, not bytes. */
  maskText(text: string): string {
    if (this.#index === null) return text;
    const bytes = Buffer.from(text).toString('latin1');
    const masked = this.mask(bytes);
    return masked === bytes ? text : Buffer.from(masked, 'latin1').toString();
  }

  /**
   * Returns the index at which a secret begins whose rest may follow; the length of the text if there is none. A beginning
   * counts if it has two characters, or six at the end of a line.
   */
  openFrom(text: string, before: string): number {
    const index = this.#index;
    if (index === null) return text.length;
    const last = lastOf(before, text);
    const where = text.endsWith('\n') ? 'line' : 'amidLine';
    let open = last.length;
    for (const { bytes, origin } of readings(last, true)) {
      // A secret may begin with an unfinished escape at the end, or have one in it.
      const whole = bytes.subarray(0, unfinishedEscape(bytes));
      const found = Math.min(...[bytes, whole].map((each) => index.openFrom(each, where)), whole.length);
      if (found < bytes.length) open = Math.min(open, origin(found));
      if (where === 'line') break;
    }
    return Math.max(0, text.length - last.length + open);
  }
}

/** Returns the end of `before` and `text` that must be kept for the next search. */
export function lastOf(before: string, text: string): string {
  return text.length >= contextLength ? text.slice(-contextLength) : (before + text).slice(-contextLength);
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
