import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { isUnified, ownCgroup } from '../../src/runner/cgroups/find.ts';

/** Has a runner of a test manage cgroups, of version 1: below our own, as a unit's. */
export const managesCgroups = { SLUICE_CGROUPS: 'delegated' };

/** Why what a limit does cannot be tried here; false where it can. */
export function noLimits(): string | false {
  if (process.getuid?.() !== 0) return 'takes root';
  // There the runner would move what is in our own group into a leaf, this test and what has started it included.
  if (isUnified()) return 'cgroups of version 2: tried by a unit with Delegate=yes';
  for (const controller of ['memory', 'cpu', 'pids']) {
    const place = ownCgroup(controller);
    if (place === undefined || !isWritable(join(place.mount, place.path))) {
      return `the cgroups of ${controller} cannot be written to`;
    }
  }
  return false;
}

/** Returns a cgroup of version 2 in which groups can be created, perhaps without controllers; undefined if there is none. */
export function unifiedRoot(): string | undefined {
  const place = (isUnified() && ownCgroup('memory')) || { mount: '/sys/fs/cgroup/unified', path: '/' };
  const root = join(place.mount, place.path);
  return process.getuid?.() === 0 && isWritable(root) ? root : undefined;
}

function isWritable(group: string): boolean {
  const probe = join(group, `sluice-probe-${process.pid}`);
  try {
    mkdirSync(probe);
    rmdirSync(probe);
    return true;
  } catch {
    return false;
  }
}
