import type { Word } from '../../releases/words.ts';

/** Reason why only a shell can run a command. Caught where the command begins: the app then runs in exec mode. */
export class NeedsShell extends Error {}

/** Options of a program, by name, with their values; '' for an option without a value. */
export interface Options {
  values: Map<string, string[]>;
  /** options as written, in order */
  written: string[];
  /** words after the options */
  rest: Word[];
}

/**
 * Separates the options of a program from the words after them. `--` ends the options.
 * @param withValue names of options whose value may be the next word, separated by spaces
 * @throws NeedsShell if an option contains a variable
 */
export function takeOptions(words: Word[], withValue = ''): Options {
  const valued = new Set(withValue.split(/\s+/));
  const options: Options = { values: new Map(), written: [], rest: [] };
  let at = 0;
  for (; at < words.length; at += 1) {
    const word = words[at];
    if (typeof word !== 'string') {
      if (typeof word?.[0] !== 'string' || !word[0].startsWith('-')) break;
      throw new NeedsShell('an option contains a variable');
    }
    if (word === '--') {
      at += 1;
      break;
    }
    if (!word.startsWith('-') || word === '-') break;
    options.written.push(word);
    const [name = '', ...value] = word.split('=');
    if (value.length > 0 || !valued.has(name)) {
      note(options, name, value.join('='));
      continue;
    }
    at += 1;
    const next = words[at] ?? '';
    if (typeof next !== 'string') throw new NeedsShell(`the value of ${name} contains a variable`);
    options.written.push(next);
    note(options, name, next);
  }
  options.rest = words.slice(at);
  return options;
}

/** Returns the values of the first of these options that is given; undefined if none is. */
export function valuesOf({ values }: Options, ...names: string[]): string[] | undefined {
  for (const name of names) if (values.has(name)) return values.get(name);
  return undefined;
}

/** Words of a program that takes its options in any place. */
export interface SortedWords {
  /** returns the values of all of these options, in order */
  values(...names: string[]): string[];
  /** words that are no options */
  names: string[];
  /** words after `--` */
  rest: Word[];
}

/**
 * Sorts the words of a program that takes its options in any place, before a `--`.
 * @param withValue as for `takeOptions`
 * @throws NeedsShell if a word before `--` contains a variable
 */
export function sortWords(words: Word[], withValue: string): SortedWords {
  const end = words.indexOf('--');
  const all: Options[] = [];
  const names: string[] = [];
  for (let left = end === -1 ? words : words.slice(0, end); left.length > 0; ) {
    const options = takeOptions(left, withValue);
    all.push(options);
    const [name, ...rest] = options.rest;
    if (typeof name === 'string') names.push(name);
    else if (name !== undefined) throw new NeedsShell('a variable is a part of it');
    left = rest;
  }
  const values = (...wanted: string[]) =>
    all.flatMap((options) => wanted.flatMap((name) => options.values.get(name) ?? []));
  return { values, names, rest: end === -1 ? [] : words.slice(end + 1) };
}

function note({ values }: Options, name: string, value: string): void {
  const known = values.get(name);
  if (known === undefined) values.set(name, [value]);
  else known.push(value);
}
