import type { Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { AppSettings } from '../config/app-settings.ts';
import { systemCode } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import { exists } from '../system/fs/exists.ts';
import { listSome } from '../system/text/format.ts';
import type { Environment } from './environment.ts';
import { databaseFiles } from './shared-paths.ts';

/** Number of paths that the notice names: logs, for example, may be many files. */
const maxNamed = 5;

/** Limits of the search: a deploy waits for it. */
const defaultLimits = { entries: 5000, milliseconds: 250 };

/** Directories, at any depth, of packages and of caches that frameworks fill again. */
const neverData = new Set(['node_modules', '.sluice', '.next', '.cache']);

/**
 * Returns a notice about files that the live release has written into its own tree, which the next release does not get.
 * Returns null if there are none, or if the search fails.
 * @param settings of the next release. A path that is shared for the first time is taken from the live release.
 */
export async function leftBehindNotice(
  environment: Environment,
  { shared, directory = '' }: Pick<AppSettings, 'shared' | 'directory'>,
): Promise<Notice | null> {
  try {
    const live = await environment.liveRelease();
    if (!live?.liveAt) return null;
    const { number, liveAt } = live;
    const tree = environment.paths.release(number).directory;
    const adopted: string[] = [];
    for (const path of shared) if (!(await exists(join(environment.paths.shared, path)))) adopted.push(path);
    const written = (await writtenSince(tree, new Date(liveAt), adopted, directory)).sort();
    if (written.length === 0) return null;
    return {
      code: 'data_left_behind',
      message: `release ${number} wrote ${listSome(written, maxNamed)} since it went live; the new release does not get these files`,
      hint: `In sluice.json, add the paths that must survive to "shared". The next deploy then takes their files from the live release; if this deploy is live by then, run \`sluice rollback ${environment.name} ${number}\` first. See docs/data.md.`,
    };
  } catch (error) {
    environment.appliance.log.warn('written data not looked for', { app: environment.name, error });
    return null;
  }
}

/**
 * Returns the paths directly below a directory of a tree in which a file was written after `since`, directories with a `/` at the
 * end. Follows no links.
 * @param except paths, relative to the tree, that are not searched
 * @param within that directory, relative to the tree; '' for the tree
 */
export async function writtenSince(
  tree: string,
  since: Date,
  except: string[],
  within = '',
  limits = defaultLimits,
): Promise<string[]> {
  const found = new Set<string>();
  const ignored = new Set(except.flatMap(databaseFiles));
  const end = performance.now() + limits.milliseconds;
  let left = limits.entries;
  // Level by level: data is near the top more often than below the thousands of files of a framework.
  const directories = ['.'];
  for (const directory of directories) {
    for await (const entry of entriesOf(join(tree, directory))) {
      left -= 1;
      if (left < 0 || performance.now() > end) return [...found];
      const path = join(directory, entry.name);
      if (`${within}/`.startsWith(`${path}/`) && entry.isDirectory()) {
        directories.push(path);
        continue;
      }
      if (within !== '' && !path.startsWith(`${within}/`)) continue;
      const top = topOf(relative(within, path));
      if (found.has(top)) {
        if (join(directory) !== join(within)) break;
      } else if (neverData.has(entry.name) || ignored.has(path)) continue;
      else if (entry.isDirectory()) directories.push(path);
      else if (entry.isFile() && (await isNewer(join(tree, path), since))) found.add(top);
    }
  }
  return [...found];
}

/** Lists a directory of the running app. A directory that was just removed, or may not be read, has no entries. */
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

/** Returns the top-level path. Files that SQLite writes beside a database count as the database. */
function topOf(path: string): string {
  const [first = '', ...below] = path.split('/');
  return below.length > 0 ? `${first}/` : first.replace(/-(?:wal|shm|journal)$/, '');
}
