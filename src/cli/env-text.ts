import { parseEnv } from 'node:util';
import { printable } from '../system/text/printable.ts';

/** Variable in a text such as .env. */
export interface WrittenVariable {
  name: string;
  value: string;
  build: boolean;
  plain: boolean;
}

/** Comments that give the kind of the variable in the next line. */
const marks = { build: '# sluice: build-only', plain: '# sluice: plain' };

/**
 * Formats variables for a file such as .env. `parseEnvText` reads exactly these variables from the text; so do Node.js and other
 * programs that read .env, except values with carriage returns, other control characters, or each kind of quotes. These values have
 * the quotes `$'…'` of a shell.
 */
export function formatEnvText(variables: WrittenVariable[]): string {
  return variables
    .map(({ name, value, build, plain }) => {
      const mark = build ? marks.build : plain ? marks.plain : '';
      return `${mark && `${mark}\n`}${name}=${quoted(value)}`;
    })
    .join('\n');
}

/** Formats a value for one line. */
export function oneLine(value: string): string {
  return /\n/.test(value) ? shellQuoted(value) : quoted(value);
}

/** Returns a value in the simplest quotes with which Node.js reads exactly this value. */
function quoted(value: string): string {
  const isPrintable = printable(value, false) === value;
  const forms = isPrintable ? [value, `'${value}'`, `"${value}"`, `\`${value}\``] : [];
  const isBare = /^[\w@%+:,./=-]*$/.test(value);
  const readsBack = (form: string) => parseEnv(`V=${form}\n`)['V'] === value;
  return forms.slice(isBare ? 0 : 1).find(readsBack) ?? shellQuoted(value);
}

/** Returns a value in the quotes that POSIX calls dollar-single-quotes. */
function shellQuoted(value: string): string {
  const escaped = value.replace(/[\\']|\p{C}/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (character === '\\' || character === "'") return `\\${character}`;
    const letter = { 9: 't', 10: 'n', 13: 'r' }[code];
    if (letter !== undefined) return `\\${letter}`;
    return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
  });
  return `$'${escaped}'`;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** Assignment with dollar-single-quotes. */
const shellAssignment =
  /[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*=[ \t]*\$'((?:[^'\\]|\\[\s\S])*)'[^\n]*(?:\n|$)/y;
/** Assignment whose quotes may span several lines. */
const quotedAssignment = /[^=\n#]*=[ \t]*(['"`])[\s\S]*?\1[^\n]*(?:\n|$)/y;
const line = /[^\n]*(?:\n|$)/y;

/**
 * Parses a text such as .env as Node.js does. Also reads dollar-single-quotes and the comments with the kind of a variable, as
 * `formatEnvText` writes them. A later assignment replaces an earlier one.
 */
export function parseEnvText(text: string): WrittenVariable[] {
  const found = new Map<string, WrittenVariable>();
  const add = (name: string, value: string, mark = '') => {
    found.set(name, { name, value, build: mark === marks.build, plain: mark === marks.plain });
  };
  const addParsed = (part: string, mark = '') => {
    for (const [name, value = ''] of Object.entries(parseEnv(part))) add(name, value, mark);
  };
  if (!/\$'|# sluice: /.test(text)) {
    addParsed(text);
    return [...found.values()];
  }
  let mark = '';
  for (let at = 0; at < text.length; ) {
    const shell = matchAt(shellAssignment, text, at);
    const [part = ''] = shell ?? matchAt(quotedAssignment, text, at) ?? matchAt(line, text, at) ?? [];
    at += Math.max(1, part.length);
    const isMark = Object.values(marks).includes(part.trim());
    if (shell) add(shell[1] ?? '', unescapeShell(shell[2] ?? ''), mark);
    else if (!isMark) addParsed(part, mark);
    mark = isMark ? part.trim() : '';
  }
  return [...found.values()];
}

function matchAt(expression: RegExp, text: string, at: number): RegExpExecArray | null {
  expression.lastIndex = at;
  return expression.exec(text);
}

const escapes = /\\(?:u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|x([0-9a-fA-F]{1,2})|([\s\S]))/gu;
const letters: Record<string, string> = {
  a: '\u0007',
  b: '\b',
  e: '\u001b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

function unescapeShell(text: string): string {
  return text.replace(escapes, (written, short, long, byte, character) => {
    if (character !== undefined)
      return letters[character] ?? (/[\\'"?]/.test(character) ? character : written);
    const code = Number.parseInt(short ?? long ?? byte, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : written;
  });
}
