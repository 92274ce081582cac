import { basename, dirname, resolve } from 'node:path';

/** A directive of nginx's configuration, with what its block holds. Includes are replaced by what they include. */
export interface Directive {
  name: string;
  args: string[];
  /** undefined if it has no block */
  block: Directive[] | undefined;
  /** absolute path of the file that it stands in */
  file: string;
}

/**
 * Parses what `nginx -T` prints: all files, each once, the main one first.
 * @param place absolute path of a file that may not be there yet. An include whose pattern matches the path gets a
 *   directive `place` there, in the order in which nginx reads files
 */
export function parseDump(dump: string, place: string): Directive[] {
  const files = new Map<string, string>();
  for (const [, path = '', text = ''] of dump.matchAll(fileInDump))
    if (!files.has(path)) files.set(path, text);
  const [main] = files.keys();
  return main === undefined ? [] : readFile(main, { files, prefix: dirname(main), place, depth: 0 });
}

/** Source: `ngx_dump_config` in nginx's nginx.c. */
const fileInDump = /^# configuration file (.+):\n([\s\S]*?)(?=^# configuration file .+:\n|(?![\s\S]))/gm;

interface Reading {
  files: ReadonlyMap<string, string>;
  /** directory that paths of includes are relative to */
  prefix: string;
  place: string;
  depth: number;
}

/** Deeper than any configuration: nginx, too, refuses a file that includes itself. */
const deepest = 20;

function readFile(path: string, reading: Reading): Directive[] {
  const tokens = tokensOf(reading.files.get(path) ?? '');
  return readBlock(tokens, path, reading);
}

/** Reads directives up to the end of a block, or of the file. */
function readBlock(tokens: Iterator<Token, undefined>, file: string, reading: Reading): Directive[] {
  const directives: Directive[] = [];
  let words: string[] = [];
  for (;;) {
    const token = tokens.next().value;
    if (token === undefined || token.kind === '}') return directives;
    if (token.kind === 'word') {
      words.push(token.text);
      continue;
    }
    const [name = '', ...args] = words;
    words = [];
    if (token.kind === '{') directives.push({ name, args, file, block: readBlock(tokens, file, reading) });
    else if (token.kind === 'raw') directives.push({ name, args, file, block: [] });
    else if (name === 'include') directives.push(...included(args[0] ?? '', file, reading));
    else directives.push({ name, args, file, block: undefined });
  }
}

function included(pattern: string, file: string, reading: Reading): Directive[] {
  if (reading.depth >= deepest) return [];
  const absolute = resolve(reading.prefix, pattern);
  const isIncluded = matcherOf(absolute);
  const paths = new Set([...reading.files.keys(), reading.place].filter(isIncluded));
  return [...paths].sort(byBytes).flatMap((path) => {
    if (path === reading.place) return [{ name: 'place', args: [], block: undefined, file }];
    return readFile(path, { ...reading, depth: reading.depth + 1 });
  });
}

/** Sorts as glob(3) in the C locale. */
function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Matches as glob(3) without flags: a wildcard matches no slash, and no dot at the beginning of a name. */
function matcherOf(pattern: string): (path: string) => boolean {
  if (!/[*?[]/.test(pattern)) return (path) => path === pattern;
  const source = pattern.replaceAll(/\[!?\]?[^\]]*\]|\*|\?|[\\^$.|+(){}[\]]/g, (part) => {
    if (part === '*') return '[^/]*';
    if (part === '?') return '[^/]';
    return part.length > 1 ? part.replace('[!', '[^') : `\\${part}`;
  });
  const regex = new RegExp(`^${source}$`);
  return (path) => regex.test(path) && (!basename(path).startsWith('.') || basename(pattern).startsWith('.'));
}

type Token = { kind: 'word'; text: string } | { kind: '{' | '}' | ';' | 'raw' };

/** Splits a file as nginx does (source: `ngx_conf_read_token`). The block of a `…_by_lua_block` is one token. */
function* tokensOf(text: string): Generator<Token, undefined> {
  let first = '';
  for (let at = 0; at < text.length; ) {
    const character = text[at] as string;
    if (/\s/.test(character)) {
      at += 1;
    } else if (character === '#') {
      const end = text.indexOf('\n', at);
      at = end === -1 ? text.length : end + 1;
    } else if (character === '{' && first.endsWith('_by_lua_block')) {
      at = endOfLua(text, at);
      first = '';
      yield { kind: 'raw' };
    } else if (character === '{' || character === '}' || character === ';') {
      at += 1;
      first = '';
      yield { kind: character };
    } else {
      const word = wordAt(text, at);
      at = word.end;
      first ||= word.text;
      yield { kind: 'word', text: word.text };
    }
  }
  return undefined;
}

function wordAt(text: string, start: number): { text: string; end: number } {
  const quote = text[start];
  const isQuoted = quote === '"' || quote === "'";
  let word = '';
  let at = isQuoted ? start + 1 : start;
  for (; at < text.length; at += 1) {
    const character = text[at] as string;
    if (character === '\\') {
      word += unescaped(text[at + 1] ?? '');
      at += 1;
    } else if (isQuoted ? character === quote : endsWord(text, at)) {
      break;
    } else {
      word += character;
    }
  }
  return { text: word, end: isQuoted ? at + 1 : at };
}

/** A brace right after a dollar belongs to a variable. */
function endsWord(text: string, at: number): boolean {
  const character = text[at] as string;
  return /[\s;]/.test(character) || (character === '{' && text[at - 1] !== '$');
}

function unescaped(character: string): string {
  const known: Record<string, string> = { t: '\t', r: '\r', n: '\n', '"': '"', "'": "'", '\\': '\\' };
  return known[character] ?? `\\${character}`;
}

/** Braces of Lua are balanced but for those in strings and comments. */
function endOfLua(text: string, start: number): number {
  let depth = 0;
  for (const match of text
    .slice(start)
    .matchAll(/--\[\[[\s\S]*?\]\]|--[^\n]*|\[\[[\s\S]*?\]\]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}]/g)) {
    if (match[0] === '{') depth += 1;
    if (match[0] === '}') depth -= 1;
    if (depth === 0) return start + match.index + match[0].length;
  }
  return text.length;
}
