import { realpathSync } from 'node:fs';
import { filesIn } from './files-in.ts';
import { filesOf, readInside } from './sources.ts';

/** Limit of the bytes of a file. */
const mostBytes = 64 * 1024;
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
  const configs = filesOf('next.config').flatMap((path) => readInside(directory, path, mostBytes) ?? []);
  if (configs.some((text) => /\bcacheHandlers?\b/.test(text))) return undefined;
  for (const path of filesIn(directory, roots, /\.[jt]sx?$/)) {
    const call = calls.exec(readInside(directory, path, mostBytes) ?? '')?.[1];
    if (call !== undefined) return `${path} calls ${call}, and each worker has a cache of pages of its own`;
  }
  return undefined;
}
