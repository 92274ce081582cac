import { readdirSync, realpathSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { readInside } from '../build/start-command/sources.ts';
import { hasCode } from '../errors/app-error.ts';
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
const ofPackages: SearchLimits = { entries: 200_000, bytes: 512 * mebibyte, bytesEach: 32 * mebibyte };

/** Files without names of variables: images, sound, archives, databases, logs. */
const data =
  /\.(?:png|jpe?g|gif|webp|avif|ico|svg|mp[34]|webm|mov|ogg|wav|pdf|docx?|xlsx?|csv|woff2?|[ot]tf|eot|zip|[gx]z|zst|br|bz2|tar|tgz|7z|db|sqlite3?|wasm|node|so|log|map)$/i;
const code = /\.[cm]?js$/;

/**
 * Returns the names that the files of a project contain as words, or of which they contain the beginning up to a `_`, such as
 * `SHOP_` in `process.env['SHOP_' + name]`. Packages in `node_modules` count if their code has a name as a property or in quotes.
 * Returns all names if the search cannot read every file: of a project that is too large, or with a link out of the project.
 */
export function namedInFiles(
  directory: string,
  names: readonly string[],
  limits = { project: ofProject, packages: ofPackages },
): Set<string> {
  const left = new Set(names);
  const root = realpathSync(directory);
  const packages: string[] = [];
  /** Returns true if the search has read all files, or has found all names. */
  const searchAll = (starts: string[], limit: SearchLimits, kind: 'project' | 'packages'): boolean => {
    const rest = { ...limit };
    // One search for all names is several times as fast as one for each.
    const parts = names.flatMap((name) => [name, ...(kind === 'project' ? beginnings(name) : [])]);
    const anyName = new RegExp(parts.map((part) => RegExp.escape(part)).join('|'));
    const isSearched = (path: string) => (kind === 'project' ? !data.test(path) : code.test(path));
    const waiting = [...starts];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      const entries = entriesOf(join(root, at));
      if (entries === undefined) return false;
      for (const entry of entries) {
        rest.entries -= 1;
        if (rest.entries < 0) return false;
        if (entry.name === '.git') continue;
        const path = join(at, entry.name);
        if (entry.isDirectory()) {
          const isOfPackages = kind === 'project' && entry.name === 'node_modules';
          (isOfPackages ? packages : waiting).push(path);
        }
        if (entry.isSymbolicLink() && pointsToUnknown(root, path, isSearched)) return false;
        if (!entry.isFile() || !isSearched(path)) continue;
        const text = readInside(root, path, Math.min(rest.bytes, limit.bytesEach));
        if (text === undefined) return false;
        rest.bytes -= text.length;
        const found = anyName.test(text) ? namesIn(text, left, kind) : [];
        for (const name of found) left.delete(name);
        if (left.size === 0) return true;
      }
    }
    return true;
  };
  const isComplete =
    searchAll([''], limits.project, 'project') && searchAll(packages, limits.packages, 'packages');
  return new Set(isComplete ? names.filter((name) => !left.has(name)) : names);
}

/**
 * Returns true if a link points to code that the search does not read. The search reads the targets of links inside of the project at
 * their own paths.
 */
function pointsToUnknown(root: string, path: string, isSearched: (path: string) => boolean): boolean {
  try {
    const target = realpathSync.native(join(root, path));
    const isRead = `${target}${sep}`.startsWith(`${root}${sep}`) && !target.includes(`${sep}.git${sep}`);
    return !isRead && (statSync(target).isDirectory() || isSearched(path));
  } catch (error) {
    if (!isMissing(error)) throw error;
    return !hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP');
  }
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

/** Returns undefined for a directory that cannot be read. */
function entriesOf(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (!isMissing(error)) throw error;
    return undefined;
  }
}
