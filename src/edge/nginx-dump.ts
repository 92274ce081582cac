import { dirname, matchesGlob, resolve } from 'node:path';

/** Name of the directive at which nginx would read our file. No directive of nginx has this name. */
export const ownFileMarker = 'own file';

/** Directive of nginx's configuration, with its block. Includes are replaced by the directives of their files. */
export interface Directive {
  name: string;
  args: string[];
  /** undefined if it has no block */
  block: Directive[] | undefined;
  /** absolute path of its file */
  file: string;
}

/**
 * Parses the output of `nginx -T`: all files, each once, the main one first.
 * @param ownFile absolute path of a file that may not exist. An include whose pattern matches the path gets a directive
 *   with the name `ownFileMarker`, in the order in which nginx reads files
 */
export function parseDump(dump: string, ownFile: string): Directive[] {
  const files = new Map<string, string>();
  for (const [, path = '', text = ''] of dump.matchAll(fileInDump))
    if (!files.has(path)) files.set(path, text);
  const [main] = files.keys();
  return main === undefined ? [] : parseFile(main, { files, prefix: dirname(main), ownFile, depth: 0 });
}

/** Source: `ngx_dump_config` in nginx's nginx.c. */
const fileInDump = /^# configuration file (.+):\n([\s\S]*?)(?=^# configuration file .+:\n|(?![\s\S]))/gm;

interface Context {
  files: ReadonlyMap<string, string>;
  /** directory that paths of includes are relative to */
  prefix: string;
  ownFile: string;
  depth: number;
}

/** Limits nested includes. nginx, too, refuses a file that includes itself. */
const deepest = 20;

function parseFile(path: string, context: Context): Directive[] {
  return parseBlock(tokensOf(context.files.get(path) ?? ''), path, context);
}

/** Parses directives up to the end of a block, or of the file. */
function parseBlock(tokens: Iterator<Token, undefined>, file: string, context: Context): Directive[] {
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
    if (token.kind === '{') directives.push({ name, args, file, block: parseBlock(tokens, file, context) });
    else if (token.kind === 'raw') directives.push({ name, args, file, block: [] });
    else if (name === 'include') directives.push(...parseInclude(args[0] ?? '', file, context));
    else directives.push({ name, args, file, block: undefined });
  }
}

/** Parses the files that a pattern matches, sorted as by glob(3) in the C locale. */
function parseInclude(pattern: string, file: string, context: Context): Directive[] {
  if (context.depth >= deepest) return [];
  const absolute = resolve(context.prefix, pattern);
  const paths = [...new Set([...context.files.keys(), context.ownFile])]
    .filter((path) => path === absolute || matchesGlob(path, absolute))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return paths.flatMap((path) =>
    path === context.ownFile
      ? [{ name: ownFileMarker, args: [], block: undefined, file }]
      : parseFile(path, { ...context, depth: context.depth + 1 }),
  );
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
    // A brace right after a dollar belongs to a variable.
    const isEnd = isQuoted
      ? character === quote
      : /[\s;]/.test(character) || (character === '{' && text[at - 1] !== '$');
    if (character === '\\') {
      at += 1;
      word += escapes[text[at] ?? ''] ?? `\\${text[at] ?? ''}`;
    } else if (isEnd) {
      break;
    } else {
      word += character;
    }
  }
  return { text: word, end: isQuoted ? at + 1 : at };
}

const escapes: Record<string, string> = { t: '\t', r: '\r', n: '\n', '"': '"', "'": "'", '\\': '\\' };

/** Finds the end of a block of Lua: its braces are balanced except in strings and comments. */
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
