import type { Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../errors/app-error.ts';
import { databaseWith } from './shared-paths.ts';

/** A deploy waits for it: what is not found within these bounds is not told. */
const defaultBounds = { entries: 5000, milliseconds: 250 };

/** At any depth: packages, and what frameworks fill again by themselves. */
const neverData = new Set(['node_modules', '.sluice', '.next', '.cache']);

/**
 * What a running app has put into the tree of its release: the top-level paths in which a file was written after
 * `since`, directories with a `/` at the end. Links are not followed.
 * @param except paths that are not looked at, relative to the tree
 */
export async function writtenSince(
  tree: string,
  since: Date,
  except: string[],
  bounds = defaultBounds,
): Promise<string[]> {
  const found = new Set<string>();
  const ignored = new Set(except.flatMap(databaseWith));
  const end = performance.now() + bounds.milliseconds;
  let left = bounds.entries;
  // Level by level: data lies high up more often than below the thousands of files of a framework.
  const directories = ['.'];
  for (const directory of directories) {
    for await (const entry of entriesOf(join(tree, directory))) {
      left -= 1;
      if (left < 0 || performance.now() > end) return [...found];
      const path = join(directory, entry.name);
      const top = topOf(path);
      if (found.has(top)) {
        if (directory !== '.') break;
      } else if (neverData.has(entry.name) || ignored.has(path)) continue;
      else if (entry.isDirectory()) directories.push(path);
      else if (entry.isFile() && (await isNewer(join(tree, path), since))) found.add(top);
    }
  }
  return [...found];
}

/** The app goes on while it is looked at: what has just gone, or may not be read, has no entries. */
async function* entriesOf(directory: string): AsyncGenerator<Dirent> {
  try {
    yield* await opendir(directory);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
}

async function isNewer(path: string, since: Date): Promise<boolean> {
  try {
    return (await lstat(path)).mtime > since;
  } catch (error) {
    // The entry is gone, its directory may be listed but not entered, or its path is too long.
    if (systemCode(error) !== undefined) return false;
    throw error;
  }
}

/** The files that SQLite keeps beside a database are told as the database. */
function topOf(path: string): string {
  const [first = '', ...below] = path.split('/');
  return below.length > 0 ? `${first}/` : first.replace(/-(?:wal|shm|journal)$/, '');
}
