import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type LegacyController, LegacyTree } from './legacy.ts';
import { type CgroupTree, makeGroup } from './tree.ts';
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
  const place = unifiedCgroup();
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
    const place = legacyCgroup(controller);
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

/** Where systemd, and whoever follows it, has the hierarchies mounted. */
const mount = '/sys/fs/cgroup';

/** Whether there is nothing but version 2. */
export function isUnified(): boolean {
  return existsSync(join(mount, 'cgroup.controllers'));
}

/** Our own group in version 2. */
export function unifiedCgroup(): { mount: string; path: string } | undefined {
  const path = isUnified() ? ownGroups().get('') : undefined;
  return path === undefined ? undefined : { mount, path };
}

/** Our own group in the hierarchy of one controller of version 1. */
export function legacyCgroup(controller: string): { mount: string; path: string } | undefined {
  const path = ownGroups().get(controller);
  const hierarchy = join(mount, controller);
  return path !== undefined && existsSync(hierarchy) ? { mount: hierarchy, path } : undefined;
}

/** Where to look for limits of memory, in either version. */
export function memoryCgroup() {
  const unified = unifiedCgroup();
  if (unified !== undefined) return { ...unified, limitFile: 'memory.max', usageFile: 'memory.current' };
  const legacy = legacyCgroup('memory');
  if (legacy === undefined) return undefined;
  return { ...legacy, limitFile: 'memory.limit_in_bytes', usageFile: 'memory.usage_in_bytes' };
}

/** By controller, that of version 2 under the empty name: lines such as `4:memory:/a/b`, `1:cpu,cpuacct:/`, `0::/a/b`. */
function ownGroups(): Map<string, string> {
  const groups = new Map<string, string>();
  if (!existsSync('/proc/self/cgroup')) return groups;
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n')) {
    const [, controllers = '', ...path] = line.split(':');
    for (const controller of controllers.split(',')) groups.set(controller, path.join(':'));
  }
  return groups;
}
