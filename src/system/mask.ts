const mask = '••••••';

/** Shorter values are masked nowhere: they would blot out parts of ordinary words and protect next to nothing. */
const shortest = 6;

/** Values that are settings rather than secrets, although they are long enough. */
const ordinary = new Set(
  'production development staging testing preview enabled disabled verbose warning default localhost'.split(
    ' ',
  ),
);

/**
 * Takes secrets out of text. Masked are values of 6 characters and more, every such line of a value that has several,
 * the password in a URL, and each of these also as it looks in a URL or in JSON. Not masked are numbers of under 10
 * digits and the usual words of settings, such as `production`: masking them would hide nothing and spoil the log.
 *
 * Text is best given a whole line at a time: of a secret that is cut in two, neither half is found.
 */
export class Masker {
  readonly #pattern: RegExp | null;
  readonly #mask: string;

  /** @param options.bytes for text that is bytes of UTF-8, one a character (latin1) */
  constructor(secrets: Iterable<string>, { bytes = false } = {}) {
    const spelled = [...secrets].flatMap(parts).filter(isSecret).flatMap(spellings);
    const found = new Set(bytes ? spelled.map(asBytes) : spelled);
    this.#mask = bytes ? asBytes(mask) : mask;
    // The longest first: where one secret begins with another, the whole of it goes.
    const alternatives = [...found].sort((a, b) => b.length - a.length).map((text) => RegExp.escape(text));
    this.#pattern = alternatives.length === 0 ? null : new RegExp(alternatives.join('|'), 'g');
  }

  mask(text: string): string {
    return this.#pattern === null ? text : text.replace(this.#pattern, this.#mask);
  }
}

function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

function parts(value: string): string[] {
  return [...value.split(/\r?\n/).map((line) => line.trim()), ...passwords(value)];
}

function passwords(value: string): string[] {
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

function spellings(value: string): string[] {
  return [value, encode(value), JSON.stringify(value).slice(1, -1)];
}

/** A lone surrogate cannot be encoded; it cannot stand in a URL either. */
function encode(text: string): string {
  return text.isWellFormed() ? encodeURIComponent(text) : text;
}
