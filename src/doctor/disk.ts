import { statfs } from 'node:fs/promises';
import { exists } from '../system/fs/exists.ts';
import { formatBytes } from '../system/text/format.ts';
import { type Check, fault, ok, type Patient, warning } from './check.ts';

/** Fewer than this many files, and even what Sluice writes by itself will soon not fit. */
const fewestInodes = 1000;

/** Whether there is room in the home for the next deploy: bytes, and inodes, of which every file takes one. */
export async function checkDisk({ paths, limits }: Patient): Promise<Check | undefined> {
  if (!(await exists(paths.home))) return undefined;
  const { bavail, bsize, files, ffree } = await statfs(paths.home);
  const free = bavail * bsize;
  const { minFreeBytes, maxEntries } = limits;
  if (free < minFreeBytes) {
    return fault(
      'disk',
      `${formatBytes(free)} are free in ${paths.home}, and "minFreeBytes" is ${formatBytes(minFreeBytes)}: deploys are refused`,
      'Free some space: a lower "keepReleases" of the apps removes old releases.',
    );
  }
  const message = `${formatBytes(free)} free in ${paths.home}`;
  // File systems that make inodes as they need them say that they have none.
  if (files === 0) return ok('disk', message);
  if (ffree >= maxEntries) return ok('disk', `${message}, and ${ffree} inodes`);
  const room = `only ${ffree} of ${files} inodes are free in ${paths.home}, and every file takes one`;
  const hint = `A deploy may need as many as "maxEntries", ${maxEntries}. A lower "keepReleases" of the apps removes old releases.`;
  return ffree < fewestInodes ? fault('disk', room, hint) : warning('disk', room, hint);
}
