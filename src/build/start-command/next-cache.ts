import { readdirSync, realpathSync } from 'node:fs';
import { join, sep } from 'node:path';
import { filesOf, readInside } from './sources.ts';

/** Limits that bound the time of a search: number of entries, bytes of a file, and depth of directories. */
const most = { entries: 300, bytes: 64 * 1024, depth: 6 };
/** Directories of a Next.js app that have code of the server. */
const roots = ['app', 'pages', 'src', 'actions', 'server', 'lib'];
/** Calls that make Next.js render a cached page again: only in the worker that runs the call. */
const calls = /\b(revalidatePath|revalidateTag|updateTag|unstable_cache|res\.revalidate)\(/;

/**
 * Returns a clause that names a file of a Next.js app that changes cached pages; undefined if none of the searched files does,
 * and if the app shares its cache between processes.
 * @param app directory of the app, which exists
 */
export function changesCachedPages(app: string): string | undefined {
  const directory = realpathSync(app);
  const configs = filesOf('next.config').flatMap((path) => readInside(directory, path, most.bytes) ?? []);
  if (configs.some((text) => /\bcacheHandlers?\b/.test(text))) return undefined;
  let left = most.entries;
  const search = (at: string, depth: number): string | undefined => {
    for (const entry of entriesOf(directory, at)) {
      const path = join(at, entry.name);
      if (left <= 0) return undefined;
      left -= 1;
      if (entry.isDirectory() && depth < most.depth && entry.name !== 'node_modules') {
        const found = search(path, depth + 1);
        if (found !== undefined) return found;
      } else if (entry.isFile() && /\.[jt]sx?$/.test(entry.name)) {
        const call = calls.exec(readInside(directory, path, most.bytes) ?? '')?.[1];
        if (call !== undefined)
          return `${path} calls ${call}, and each worker has a cache of pages of its own`;
      }
    }
    return undefined;
  };
  for (const root of roots) {
    const found = search(root, 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Returns the entries of a directory of the app; none if it does not exist, or if a link points out of the app. */
function entriesOf(directory: string, at: string) {
  try {
    const real = realpathSync.native(join(directory, at));
    return real.startsWith(`${directory}${sep}`) ? readdirSync(real, { withFileTypes: true }) : [];
  } catch {
    return [];
  }
}
