import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { isMissing } from '../../system/fs/read-file.ts';

/** Limits that bound the time of a search: number of files, bytes of each and of all, and number of imports. */
const most = { files: 40, bytesEach: 64 * 1024, bytes: 256 * 1024, imports: 500 };

/** A file of the app. */
export interface Source {
  /** relative to the directory of the app */
  path: string;
  text: string;
}

/** Directories that `@/` and `~/` may stand for. */
const sourceRoots = ['src', 'app', '.'];

const imported = /(?:\bfrom\s*|\brequire\(\s*|\bimport\(?\s*)['"]((?:\.{1,2}|[@~])\/[^'"\n]{1,200})['"]/g;

/**
 * Yields the files that an app's entries import, each entry first, as far as the limits allow. Reads without waiting: a read takes
 * some microseconds, and no process of the app writes into the directory before the build.
 * @param entries paths of each entry, relative to `directory`; the first one that exists is the entry
 */
export function* importedSources(
  directory: string,
  entries: readonly (readonly string[])[],
): Generator<Source> {
  if (!existsSync(directory)) return;
  const root = realpathSync(directory);
  const seen = new Set<string>();
  let left = most.bytes;
  const imports = new Set<string>();
  const read = (paths: readonly string[]): Source | undefined => {
    for (const each of paths) {
      const path = isFile(join(root, each)) ? pathInside(root, each) : undefined;
      if (path === undefined) continue;
      if (seen.has(path) || seen.size === most.files) return undefined;
      seen.add(path);
      const text = readInside(root, path, Math.min(left, most.bytesEach));
      left -= text?.length ?? 0;
      // A large file is most often build output. A later path may be its source.
      if (text !== undefined) return { path, text };
    }
    return undefined;
  };
  for (const entry of entries) {
    const waiting = [read(entry)];
    for (let source = waiting.shift(); source !== undefined; source = waiting.shift()) {
      yield source;
      const at = dirname(source.path);
      for (const [, specifier = ''] of source.text.matchAll(imported)) {
        if (seen.size === most.files || imports.size === most.imports) break;
        const roots = /^[@~]\//.test(specifier) ? sourceRoots : [at];
        const path = specifier.replace(/^[@~]\//, '');
        const name = `${roots[0]} ${path}`;
        if (imports.has(name)) continue;
        imports.add(name);
        const next = read(roots.flatMap((root) => filesOf(join(root, path))));
        if (next !== undefined) waiting.push(next);
      }
    }
  }
}

/** Returns the files that an import may mean. TypeScript names a file by the name of its output. */
export function filesOf(path: string): string[] {
  const bare = path.replace(/\.([cm]?)js$/, '');
  const ending = path.slice(bare.length);
  if (ending !== '') return [path, `${bare}${ending.replace('js', 'ts')}`];
  const endings = ['.js', '.ts', '.mjs', '.cjs', '.mts', '.cts', '/index.js', '/index.ts'];
  return [path, ...endings.map((each) => `${path}${each}`)];
}

/** Returns false also for a path that the system refuses: too long, a circle of links, or with a NUL. */
function isFile(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  } catch (error) {
    if (!isMissing(error)) throw error;
    return false;
  }
}

/** Returns the path of a file without links, relative to `root`; undefined if it is outside. */
function pathInside(root: string, path: string): string | undefined {
  const real = realpathSync.native(join(root, path));
  return real.startsWith(`${root}${sep}`) ? relative(root, real) : undefined;
}

/** Returns the text of a file; undefined if it is larger than `limit`, cannot be read, or if a link replaces it or points outside. */
export function readInside(root: string, path: string, limit: number): string | undefined {
  try {
    const absolute = join(root, path);
    if (!realpathSync.native(absolute).startsWith(`${root}${sep}`)) return undefined;
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const fd = openSync(absolute, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile() || stat.size > limit) return undefined;
      const bytes = Buffer.alloc(stat.size);
      return bytes.toString('utf8', 0, readSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // The app itself reports a file that it cannot read.
    if (!isMissing(error)) throw error;
    return undefined;
  }
}
