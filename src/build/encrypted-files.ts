import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { matchesPath, stepsFor } from '../config/workspace-patterns.ts';
import { AppError } from '../errors/app-error.ts';
import { isMissing, openAppFile, readAppTextIfAny } from '../system/fs/read-file.ts';

/** First bytes of a file that git-crypt has encrypted. */
const magic = Buffer.from('\0GITCRYPT\0', 'latin1');

/** Limits of single items, because the files are those of an app. */
const limits = { attributes: 256 * 1024, patterns: 100, pattern: 256, named: 5 };

/** Work that a search may do in all directories together. */
const newBudget = () => ({
  entries: 20_000,
  /** files to read */
  reads: 2000,
  /** characters of `.gitattributes` */
  characters: 4 * 1024 ** 2,
  /** comparisons of paths with patterns: see `stepsFor` */
  steps: 500_000,
});
type Budget = ReturnType<typeof newBudget>;

/** Number of steps after which other work gets a turn. */
const stepsInTurn = 10_000;

/**
 * Checks that no file of an app is still encrypted with git-crypt. Reads only files that `.gitattributes`, at the top or in a
 * directory there, names for git-crypt. Follows no links. Ends without an error where a hostile app would take too much time.
 * @throws AppError `encrypted_files`
 */
export async function checkEncryptedFiles(directory: string): Promise<void> {
  const top = await entriesOf(directory);
  const places = ['', ...top.filter((entry) => entry.isDirectory()).map(({ name }) => name)];
  const found: string[] = [];
  const budget = newBudget();
  for (const place of places.filter((name) => !skipped.has(name))) {
    budget.entries -= 1;
    if (isSpent(budget)) break;
    const patterns = await encryptedPatterns(directory, place, budget);
    if (patterns.length > 0) found.push(...(await encryptedFiles(directory, place, patterns, budget)));
  }
  if (found.length === 0) return;
  const [files, more] = [[...new Set(found)], found.length - limits.named];
  const named = files.slice(0, limits.named).join(', ') + (more > 0 ? ` and ${more} more` : '');
  throw new AppError('encrypted_files', `git-crypt has encrypted these files: ${named}`, {
    hint: 'A push sends encrypted files as they are. Set their values with `sluice env set`, or deploy an unlocked checkout with `sluice deploy`.',
  });
}

const skipped = new Set(['node_modules', '.git', '.sluice']);

function isSpent(budget: Budget): boolean {
  return Object.values(budget).some((left) => left <= 0);
}

/** A pattern of `.gitattributes`, and its segments. */
interface Pattern {
  text: string;
  segments: string[];
}

/** Returns the patterns of a `.gitattributes` for files that git-crypt encrypts. */
async function encryptedPatterns(directory: string, place: string, budget: Budget): Promise<Pattern[]> {
  const text = await readAttributes(directory, place);
  budget.characters -= text.length;
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !line.startsWith('#') && /\sfilter=git-crypt(?:\s|$)/.test(line))
    .map((line) => /^"([^"\\]*)"/.exec(line)?.[1] ?? line.split(/\s/, 1)[0] ?? '')
    .filter(({ length }) => length <= limits.pattern)
    .slice(0, limits.patterns)
    .map((pattern) => {
      const segments = pattern.split('/').filter((segment) => segment !== '');
      // A pattern without a slash matches in every directory.
      const all = pattern.includes('/') ? segments : ['**', ...segments];
      return { text: pattern, segments: all.map(withoutDot) };
    });
}

/** Replaces a dot at the beginning of a name: in .gitattributes, `*` matches names with a dot, too. */
function withoutDot(name: string): string {
  return name.replace(/^\./, '\0');
}

async function readAttributes(directory: string, place: string): Promise<string> {
  return (await readAppTextIfAny(directory, join(place, '.gitattributes'), limits.attributes)) ?? '';
}

async function encryptedFiles(
  directory: string,
  place: string,
  patterns: Pattern[],
  budget: Budget,
): Promise<string[]> {
  const found: string[] = [];
  const open = [''];
  let turn = budget.steps;
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const entry of await entriesOf(join(directory, place, at))) {
      budget.entries -= 1;
      if (isSpent(budget)) return found;
      if (turn - budget.steps > stepsInTurn) {
        await setImmediate();
        turn = budget.steps;
      }
      const path = posix.join(at, entry.name);
      if (entry.isDirectory() && !skipped.has(entry.name)) open.push(path);
      if (!entry.isFile() || !matches(patterns, path, budget)) continue;
      budget.reads -= 1;
      if (await isEncrypted(directory, posix.join(place, path))) found.push(posix.join(place, path));
    }
  }
  return found.sort();
}

function matches(patterns: Pattern[], path: string, budget: Budget): boolean {
  const names = path.split('/').map(withoutDot);
  return patterns.some(({ text, segments }) => {
    budget.steps -= stepsFor(text, path);
    return budget.steps > 0 && matchesPath(segments, names);
  });
}

async function isEncrypted(directory: string, path: string): Promise<boolean> {
  await using file = await openAppFile(join(directory, path), directory);
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(magic.length), position: 0 });
  return bytesRead === magic.length && buffer.equals(magic);
}

async function entriesOf(directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
