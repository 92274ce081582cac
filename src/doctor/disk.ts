import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { listEnvironments } from '../config/paths.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { formatBytes } from '../system/text/format.ts';
import { type Check, fault, ok, warning } from './check.ts';

/** Number of free inodes below which even the files of Sluice itself soon find no place. */
const fewestInodes = 1000;

/** Checks that the disk has space and inodes for the next deploy: each file takes an inode. */
export const diskCheck: Check = {
  name: 'disk',
  async run({ paths: { home }, limits: { minFreeBytes, maxEntries } }) {
    if (!(await exists(home))) return undefined;
    const { bavail, bsize, files, ffree } = await statfs(home);
    const free = bavail * bsize;
    if (free < minFreeBytes) {
      return fault(
        `${formatBytes(free)} are free in ${home}, and "minFreeBytes" is ${formatBytes(minFreeBytes)}: deploys are rejected`,
        'Free disk space: a lower "keepReleases" of the apps removes old releases.',
      );
    }
    const message = `${formatBytes(free)} free in ${home}`;
    // File systems that create inodes on demand report 0 files.
    if (files === 0) return ok(message);
    if (ffree >= maxEntries) return ok(`${message}, and ${ffree} inodes`);
    const few = `only ${ffree} of ${files} inodes are free in ${home}, and each file takes one`;
    const hint = `A deploy may need up to ${maxEntries} ("maxEntries"). A lower "keepReleases" of the apps removes old releases.`;
    return ffree < fewestInodes ? fault(few, hint) : warning(few, hint);
  },
};

/** Checks that the logs of all apps are within their limit, which only files that are still written exceed. */
export const logsCheck: Check = {
  name: 'logs',
  async run({ paths, limits: { maxLogBytes } }) {
    if (!(await exists(paths.home))) return undefined;
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
    if (total <= maxLogBytes) return ok(`${size} of ${most} ("maxLogBytes")`);
    return warning(
      `${size}, and "maxLogBytes" is ${most}: old logs are removed early`,
      'Raise "maxLogBytes" in config.json, or lower "logSize": a file that is still written is never removed.',
    );
  },
};
