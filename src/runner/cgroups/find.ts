import { createHash } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { makeGroup } from './files.ts';
import { type LegacyController, LegacyTree } from './legacy.ts';
import { isUnified, legacyPlace, unifiedPlace } from './place.ts';
import type { CgroupTree } from './tree.ts';
import { ownLeaf, UnifiedTree } from './unified.ts';

/** Set by our unit, which has `Delegate=yes`: that a group belongs to us cannot be seen, and root may write to all. */
const delegated = 'SLUICE_CGROUPS';

export type Found = { tree: CgroupTree } | { reason: string; wanted: boolean };

/**
 * Finds the part of the hierarchy that we may manage.
 * @param home tells two of us apart where the hierarchy of a controller has no group of our unit
 */
export function findTree(home: string): Found {
  if (process.env[delegated] !== 'delegated') {
    const reason = 'it was not started as a system service, which has a cgroup of its own';
    return { reason, wanted: false };
  }
  try {
    const tree = isUnified() ? unified() : legacy(home);
    if (tree === undefined) return { reason: 'this system has no cgroups', wanted: true };
    if (tree.controllers.size > 0) return { tree };
    return { reason: 'its cgroup was given no controllers, or may not be written to', wanted: true };
  } catch (error) {
    return { reason: `its cgroup cannot be managed: ${(error as Error).message}`, wanted: true };
  }
}

function unified(): CgroupTree | undefined {
  const place = unifiedPlace();
  if (place === undefined) return undefined;
  // From systemd 254 on the unit can have us started in the leaf.
  const path = basename(place.path) === ownLeaf ? dirname(place.path) : place.path;
  return new UnifiedTree(join(place.mount, path));
}

const legacyControllers: LegacyController[] = ['memory', 'cpu', 'pids'];

/** Below our own group in each, which is the root where systemd does not manage that controller. */
function legacy(home: string): CgroupTree | undefined {
  const name = `sluice-${createHash('sha256').update(home).digest('hex').slice(0, 8)}`;
  const roots = new Map<LegacyController, string>();
  for (const controller of legacyControllers) {
    const place = legacyPlace(controller);
    if (place !== undefined) roots.set(controller, join(place.mount, place.path, name));
  }
  return roots.size === 0
    ? undefined
    : new LegacyTree(new Map([...roots].filter(([, root]) => isOurs(root))));
}

function isOurs(root: string): boolean {
  try {
    makeGroup(root);
    return true;
  } catch {
    // Mounted read-only, or somebody else's: what cannot be limited is told by what is left.
    return false;
  }
}
