import { readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { readInside } from '../build/start-command/sources.ts';
import { isMissing } from '../system/fs/read-file.ts';

/** Limits that bound the time of a search. */
export interface SearchLimits {
  entries: number;
  /** of all files */
  bytes: number;
  bytesEach: number;
}

const mebibyte = 1024 ** 2;
const ofProject: SearchLimits = { entries: 50_000, bytes: 256 * mebibyte, bytesEach: 16 * mebibyte };
const ofPackages: SearchLimits = { entries: 50_000, bytes: 128 * mebibyte, bytesEach: 2 * mebibyte };

/** Files without names of variables: images, sound, archives, databases, logs. */
const data =
  /\.(?:png|jpe?g|gif|webp|avif|ico|svg|mp[34]|webm|mov|ogg|wav|pdf|docx?|xlsx?|csv|woff2?|[ot]tf|eot|zip|[gx]z|zst|br|bz2|tar|tgz|7z|db|sqlite3?|wasm|node|so|log|map)$/i;
const code = /\.[cm]?js$/;

/**
 * Returns the names that the files of a project contain as words, or of which they contain the beginning up to a `_`, such as
 * `SHOP_` in `process.env['SHOP_' + name]`. Packages in `node_modules` count if their code has a name as a property or in quotes.
 * Returns all names for a project that is too large to search.
 */
export function namedInFiles(
  directory: string,
  names: readonly string[],
  limits = { project: ofProject, packages: ofPackages },
): Set<string> {
  const left = new Set(names);
  const root = realpathSync(directory);
  const packages: string[] = [];
  const searchAll = (starts: string[], limit: SearchLimits, kind: 'project' | 'packages'): boolean => {
    const rest = { ...limit };
    const waiting = [...starts];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      for (const entry of entriesOf(join(root, at))) {
        rest.entries -= 1;
        if (rest.entries < 0 || rest.bytes <= 0) return false;
        const path = join(at, entry.name);
        if (entry.isDirectory() && entry.name === 'node_modules' && kind === 'project') packages.push(path);
        else if (entry.isDirectory() && entry.name !== '.git') waiting.push(path);
        if (!entry.isFile() || !(kind === 'project' ? !data.test(entry.name) : code.test(entry.name)))
          continue;
        const text = readInside(root, path, Math.min(rest.bytes, limit.bytesEach)) ?? '';
        rest.bytes -= text.length;
        for (const name of namesIn(text, left, kind)) left.delete(name);
        if (left.size === 0) return true;
      }
    }
    return true;
  };
  if (!searchAll([''], limits.project, 'project')) return new Set(names);
  searchAll(packages, limits.packages, 'packages');
  return new Set(names.filter((name) => !left.has(name)));
}

/** Returns the names that a text has. */
function namesIn(text: string, names: ReadonlySet<string>, kind: 'project' | 'packages'): string[] {
  return [...names].filter((name) => {
    if (has(text, name, kind === 'packages' ? /[.'"`]/ : /\W/)) return true;
    return kind === 'project' && beginnings(name).some((beginning) => has(text, beginning, /\W/));
  });
}

/** Returns the beginnings of a name that end with `_`, of at least four characters. */
function beginnings(name: string): string[] {
  return [...name.matchAll(/_/g)]
    .map(({ index }) => name.slice(0, index + 1))
    .filter(({ length }) => length > 3);
}

/** Returns true if a text has a word. @param before character before the word, if there is one */
function has(text: string, word: string, before: RegExp): boolean {
  for (let at = text.indexOf(word); at !== -1; at = text.indexOf(word, at + word.length)) {
    const isEnd = !/\w/.test(text[at + word.length] ?? '');
    if (isEnd && (at === 0 || before.test(text[at - 1] ?? ''))) return true;
  }
  return false;
}

function entriesOf(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (!isMissing(error)) throw error;
    return [];
  }
}
