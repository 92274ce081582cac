import { dirname, matchesGlob, resolve } from 'node:path';

/** Name of the directive at which nginx would read a file of ours; its argument is the path. No directive of nginx has this name. */
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

/** Limits nested includes. nginx, too, refuses a file that includes itself. */
const deepest = 20;

/**
 * Parses the output of `nginx -T`: all files, each once, the main one first.
 * @param ownFiles absolute paths of our files, which may not exist. An include whose pattern matches such a path gets a
 *   directive with the name `ownFileMarker`, in the order in which nginx reads files
 */
export function parseDump(dump: string, ownFiles: readonly string[]): Directive[] {
  const files = new Map<string, string>();
  for (const [, path = '', text = ''] of dump.matchAll(fileInDump))
    if (!files.has(path)) files.set(path, text);
  const [main = ''] = files.keys();
  // glob(3) sorts, too.
  const sorted = [...new Set([...files.keys(), ...ownFiles])].sort();
  const parseFile = (file: string, depth: number) => parseBlock(tokensOf(files.get(file) ?? ''), file, depth);

  /** Parses directives up to the end of a block, or of the file. */
  function parseBlock(tokens: Iterator<Token, undefined>, file: string, depth: number): Directive[] {
    const directives: Directive[] = [];
    let words: string[] = [];
    for (;;) {
      const token = tokens.next().value;
      if (token === undefined || token.mark === '}') return directives;
      if (token.mark === undefined) {
        words.push(token.word);
        continue;
      }
      const [name = '', ...args] = words;
      words = [];
      const block = token.mark === '{' ? parseBlock(tokens, file, depth) : undefined;
      if (name === 'include') directives.push(...parseInclude(args[0] ?? '', file, depth + 1));
      else directives.push({ name, args, file, block });
    }
  }

  /** Parses the files that a pattern matches. */
  function parseInclude(pattern: string, file: string, depth: number): Directive[] {
    if (depth > deepest) return [];
    const absolute = resolve(dirname(main), pattern);
    return sorted
      .filter((path) => path === absolute || matchesGlob(path, absolute))
      .flatMap((path) =>
        ownFiles.includes(path)
          ? [{ name: ownFileMarker, args: [path], block: undefined, file }]
          : parseFile(path, depth),
      );
  }

  return parseFile(main, 0);
}

/** Returns the paths of all files in the output of `nginx -T`. */
export function filesInDump(dump: string): string[] {
  return [...new Set([...dump.matchAll(fileInDump)].map(([, path = '']) => path))];
}

/** Source: `ngx_dump_config` in nginx's nginx.c. */
const fileInDump = /^# configuration file (.+):\n([\s\S]*?)(?=^# configuration file .+:\n|(?![\s\S]))/gm;

/** Mark or word of a file, with its position. */
type Token = { start: number; end: number } & ({ mark: string } | { mark: undefined; word: string });

/**
 * Space, a comment, a mark, or a word: in quotes of either kind, or without. A brace right after a dollar belongs to a
 * variable (source: `ngx_conf_read_token`).
 */
const tokenPattern =
  /[ \t\r\n]+|#[^\n]*|([{};])|"((?:\\.|[^"\\])*)"?|'((?:\\.|[^'\\])*)'?|((?:\\.?|\$\{|[^ \t\r\n;{\\])+)/sy;

/** Splits a file as nginx does. The block of a `…_by_lua_block` counts as empty. */
export function* tokensOf(text: string): Generator<Token, undefined> {
  let first = '';
  for (let at = 0; at < text.length; ) {
    const start = at;
    tokenPattern.lastIndex = at;
    const [, mark, ...words] = tokenPattern.exec(text) ?? [];
    at = tokenPattern.lastIndex;
    const word = words.find((each) => each !== undefined);
    if (word !== undefined) {
      first ||= word;
      yield {
        ...{ start, end: at, mark: undefined },
        word: word.replace(/\\(.)/gs, (whole, letter) => escapes[letter] ?? whole),
      };
    } else if (mark !== undefined) {
      yield { start, end: at, mark };
      if (mark === '{' && first.endsWith('_by_lua_block')) {
        at = endOfLua(text, at - 1);
        yield { start: at - 1, end: at, mark: '}' };
      }
      first = '';
    }
  }
  return undefined;
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
