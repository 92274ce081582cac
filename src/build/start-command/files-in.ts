import { readdirSync, realpathSync } from 'node:fs';
import { join, sep } from 'node:path';
import { isMissing } from '../../system/fs/read-file.ts';

/** Limits that bound the time of a search: number of entries, and depth of directories. */
const most = { entries: 300, depth: 6 };

/**
 * Yields the files of an app in some of its directories, relative to the app, as far as the limits allow. Follows no links, and
 * leaves out `node_modules`.
 * @param app real path of the directory of the app
 * @param name pattern of the names of files
 */
export function* filesIn(app: string, directories: readonly string[], name: RegExp): Generator<string> {
  let left = most.entries;
  function* search(at: string, depth: number): Generator<string> {
    for (const entry of entriesOf(app, at)) {
      if (left <= 0) return;
      left -= 1;
      const path = join(at, entry.name);
      if (entry.isFile() && name.test(entry.name)) yield path;
      if (entry.isDirectory() && depth < most.depth && entry.name !== 'node_modules')
        yield* search(path, depth + 1);
    }
  }
  for (const directory of directories) yield* search(directory, 1);
}

/** Returns the entries of a directory of the app; none if it does not exist, or if a link points out of the app. */
function entriesOf(app: string, at: string) {
  try {
    const real = realpathSync.native(join(app, at));
    return real.startsWith(`${app}${sep}`) ? readdirSync(real, { withFileTypes: true }) : [];
  } catch (error) {
    if (!isMissing(error)) throw error;
    return [];
  }
}
