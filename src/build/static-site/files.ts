import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, readAppTextIfAny } from '../../system/fs/read-file.ts';

/*
 * Searches of a release for files and directories. They are limited, because an app or its build may write anything.
 */

/** Page of a directory. */
export const indexName = 'index.html';

/** Number of names of a directory that a search visits. */
const maxNames = 200;
/** Number of directories that a search visits. */
const maxSearched = 300;
/** Largest file that is read, in bytes. */
const maxText = 1024 ** 2;

export async function isDirectory(path: string): Promise<boolean> {
  return (await statsOf(path))?.isDirectory() ?? false;
}

export async function isFile(path: string): Promise<boolean> {
  return (await statsOf(path))?.isFile() ?? false;
}

async function statsOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    return undefined;
  }
}

/** Returns the text of a file; '' if there is none that may be read. */
export async function textOf(directory: string, name: string): Promise<string> {
  return (await readAppTextIfAny(directory, name, maxText)) ?? '';
}

/** Returns the paths that match a pattern, in which `*` stands for the name of any directory. They need not exist. */
export async function expand(directory: string, pattern: string): Promise<string[]> {
  let places = ['.'];
  for (const part of pattern.split('/')) {
    const next = places.map(async (place) => {
      const names = part === '*' ? await directoriesIn(join(directory, place)) : [part];
      return names.map((name) => join(place, name));
    });
    places = (await Promise.all(next)).flat().slice(0, maxSearched);
  }
  return places;
}

/** Returns the directories with an index.html, down to the third level. */
export async function findIndexes(directory: string): Promise<string[]> {
  const found: string[] = [];
  const level = [{ place: '.', depth: 0 }];
  for (const { place, depth } of level) {
    if (await isFile(join(directory, place, indexName))) found.push(place);
    if (depth === 3 || level.length > maxSearched) continue;
    for (const name of await directoriesIn(join(directory, place)))
      level.push({ place: join(place, name), depth: depth + 1 });
  }
  return found;
}

/** Returns names of directories, sorted, except `node_modules` and names with a dot at the beginning. */
export async function directoriesIn(directory: string): Promise<string[]> {
  const names: string[] = [];
  let visited = 0;
  try {
    for await (const entry of await opendir(directory)) {
      visited += 1;
      if (visited > maxNames) break;
      const isWanted = entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules';
      if (isWanted) names.push(entry.name);
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return names.sort();
}
