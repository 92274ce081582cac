import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { listEnvironments } from '../config/paths.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { formatBytes } from '../system/text/format.ts';
import { type Finding, fault, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

/** Number of free inodes below which even the files of Sluice itself soon find no place. */
const fewestInodes = 1000;

/** Checks that the disk has space and inodes for the next deploy: each file takes an inode. */
export async function* checkDisk({ paths, limits }: Snapshot): AsyncIterable<Finding> {
  const { home } = paths;
  const { minFreeBytes, maxEntries } = limits;
  if (!(await exists(home))) return;
  const { bavail, bsize, files, ffree } = await statfs(home);
  const free = bavail * bsize;
  if (free < minFreeBytes) {
    return yield fault(
      `${formatBytes(free)} are free in ${home}, and "minFreeBytes" is ${formatBytes(minFreeBytes)}: deploys are rejected`,
      'Free disk space: a lower "keepReleases" of the apps removes old releases.',
    );
  }
  if (files !== 0 && ffree < maxEntries) {
    const found = ffree < fewestInodes ? fault : warning;
    yield found(
      `only ${ffree} of ${files} inodes are free in ${home}, and each file takes one`,
      `A deploy may need up to ${maxEntries} ("maxEntries"). A lower "keepReleases" of the apps removes old releases.`,
    );
  }
  // File systems that create inodes on demand report 0 files.
  yield ok(`${formatBytes(free)} free in ${home}${files === 0 ? '' : `, and ${ffree} inodes`}`);
}

/** Checks that the logs of all apps are within their limit, which only files that are still written exceed. */
export async function* checkLogs({ paths, limits: { maxLogBytes } }: Snapshot): AsyncIterable<Finding> {
  if (!(await exists(paths.home))) return;
  let total = 0;
  for (const id of await listEnvironments(paths)) {
    const { logs } = paths.environment(id);
    for (const name of await listDirectory(logs)) {
      // A rotation may remove the file meanwhile.
      total += (await ifThere(stat(join(logs, name))))?.size ?? 0;
    }
  }
  const size = `the logs of all apps take ${formatBytes(total)}`;
  const most = formatBytes(maxLogBytes);
  if (total > maxLogBytes) {
    yield warning(
      `${size}, and "maxLogBytes" is ${most}: old logs are removed early`,
      'Raise "maxLogBytes" in config.json, or lower "logSize": a file that is still written is never removed.',
    );
  }
  yield ok(`${size} of ${most} ("maxLogBytes")`);
}
