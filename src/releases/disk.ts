import { environmentName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { freeBytes } from '../system/fs/files.ts';
import { run } from '../system/process/run.ts';
import { formatBytes } from '../system/text/format.ts';
import type { ReleaseStore } from './store.ts';

/**
 * Checks that the disk of `directory` has space for `needed` bytes, and that `minFree` bytes remain free after that.
 * @param stores whose retained releases the error names, the largest first
 * @throws AppError `disk_full`
 */
export async function ensureSpace(
  directory: string,
  { needed, minFree, stores }: { needed: number; minFree: number; stores: () => Promise<ReleaseStore[]> },
): Promise<void> {
  const free = await freeBytes(directory);
  if (free >= needed + minFree) return;
  throw new AppError(
    'disk_full',
    `the disk of ${directory} has ${formatBytes(free)} of free space, but ${formatBytes(needed)} are needed, and ${formatBytes(minFree)} must remain free`,
    { hint: await retainedHint(await stores()) },
  );
}

/**
 * Returns the disk space of a directory and everything below it, in bytes. Counts hard-linked files once. Ignores directories
 * that this user may not read.
 */
export async function directorySize(path: string): Promise<number> {
  // POSIX: -k counts in units of 1024 bytes. For a tree of 30,000 files, du is ten times as fast as a walk in Node.js.
  // Drops the messages of du: `run` limits output.
  // It fails if it cannot read a directory, but counts the rest.
  const { stdout } = await run('/bin/sh', ['-c', 'du -sk -- "$1" 2>/dev/null; :', 'sh', path]);
  const kibibytes = Number.parseInt(stdout, 10);
  if (Number.isNaN(kibibytes)) throw new Error(`du did not count ${path}`);
  return kibibytes * 1024;
}

async function retainedHint(stores: Iterable<ReleaseStore>): Promise<string> {
  const retained: { name: string; bytes: number }[] = [];
  for (const store of stores) {
    for (const { number, sizeBytes } of await store.retained()) {
      retained.push({ name: `${environmentName(store.id)} release ${number}`, bytes: sizeBytes ?? 0 });
    }
  }
  if (retained.length === 0) return 'Free disk space: no retained release can be removed.';
  retained.sort((a, b) => b.bytes - a.bytes);
  const largest = retained.slice(0, 5).map(({ name, bytes }) => `${name} (${formatBytes(bytes)})`);
  return `The largest retained releases are ${largest.join(', ')}. Lower "keepReleases" of these apps, or destroy an app.`;
}
