import { shellWord } from '../system/text/format.ts';

/** Variable in a command, whose value is known when a process starts. */
export interface Variable {
  variable: string;
  /** value if the variable is not set, or is empty */
  default?: string;
  /** true outside of quotes: spaces in the value separate words */
  split?: boolean;
}

/** Word of a command: a text, or texts and variables that follow each other. */
export type Word = string | (string | Variable)[];

/** Returns the words with the values of their variables, as a shell expands them. */
export function expandWords(words: Word[], env: Record<string, string | undefined>): string[] {
  return words.flatMap((word) => (typeof word === 'string' ? [word] : fieldsOf(word, env)));
}

/** Returns words as a shell command. */
export function commandOf(words: Word[]): string {
  const inShell = (part: string | Variable) =>
    typeof part === 'string' ? part.replace(/["$`\\]/g, '\\$&') : referenceTo(part);
  return words
    .map((word) => (typeof word === 'string' ? shellWord(word) : `"${word.map(inShell).join('')}"`))
    .join(' ');
}

function referenceTo({ variable, default: value }: Variable): string {
  return `\${${variable}${value === undefined ? '' : `:-${value}`}}`;
}

/** Returns a word as one text. */
export function expandWord(word: Word, env: Record<string, string | undefined>): string {
  return typeof word === 'string' ? word : word.map((part) => textOf(part, env)).join('');
}

function fieldsOf(parts: Exclude<Word, string>, env: Record<string, string | undefined>): string[] {
  const fields: string[] = [];
  // An unquoted variable without a value gives no word; any other part gives one, even an empty text.
  let open = false;
  for (const part of parts) {
    const value = textOf(part, env);
    const mayEnd = typeof part !== 'string' && part.split === true;
    const pieces = mayEnd ? value.split(/[ \t\n]+/) : [value];
    for (const [at, piece] of pieces.entries()) {
      if (at > 0) open = false;
      if (mayEnd && piece === '') continue;
      if (open) fields.push(`${fields.pop()}${piece}`);
      else fields.push(piece);
      open = true;
    }
  }
  return fields;
}

function textOf(part: string | Variable, env: Record<string, string | undefined>): string {
  return typeof part === 'string' ? part : env[part.variable] || (part.default ?? '');
}
