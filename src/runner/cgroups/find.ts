import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type LegacyController, LegacyTree } from './legacy.ts';
import { type CgroupTree, makeGroup, noTree } from './tree.ts';
import { ownLeaf, UnifiedTree } from './unified.ts';

/**
 * Variable that our unit sets, which has `Delegate=yes`. The system does not show that a group is delegated, and root may write to
 * all groups.
 */
const delegated = 'SLUICE_CGROUPS';

/** Directory in which systemd mounts the hierarchies. */
const mount = '/sys/fs/cgroup';

/** Tree of the runner, and the reason if it is `noTree`. `wanted`: the runner's unit has a cgroup for it. */
export interface Found {
  tree: CgroupTree;
  reason: string | null;
  wanted: boolean;
}

/**
 * Finds the part of the hierarchy that this runner may manage.
 * @param home distinguishes two runners if the hierarchy of a controller has no group of our unit
 */
export function findTree(home: string): Found {
  const none = (reason: string, wanted = true) => ({ tree: noTree, reason, wanted });
  if (process.env[delegated] !== 'delegated')
    return none('it was not started as a system service, which has a cgroup of its own', false);
  try {
    const tree = isUnified() ? unified() : legacy(home);
    if (tree === undefined) return none('this system has no cgroups');
    if (tree.controllers.size > 0) return { tree, reason: null, wanted: true };
    return none('its cgroup has no controllers, or is read-only');
  } catch (error) {
    return none(`its cgroup cannot be managed: ${(error as Error).message}`);
  }
}

function unified(): CgroupTree | undefined {
  const own = unifiedCgroup();
  if (own === undefined) return undefined;
  // From systemd 254 on, the unit can start this process in the leaf.
  const path = basename(own.path) === ownLeaf ? dirname(own.path) : own.path;
  return new UnifiedTree(join(own.mount, path));
}

/** Makes groups below our own group of each controller, which is the root if systemd does not manage that controller. */
function legacy(home: string): CgroupTree | undefined {
  const name = `sluice-${createHash('sha256').update(home).digest('hex').slice(0, 8)}`;
  const roots = (['memory', 'cpu', 'pids'] as const).flatMap((controller): [LegacyController, string][] => {
    const own = legacyCgroup(controller);
    return own === undefined ? [] : [[controller, join(own.mount, own.path, name)]];
  });
  if (roots.length === 0) return undefined;
  return new LegacyTree(new Map(roots.filter(([, root]) => canMake(root))));
}

/** Makes a group; returns false if the hierarchy is read-only or belongs to another user. The report names what is missing. */
function canMake(root: string): boolean {
  try {
    makeGroup(root);
    return true;
  } catch {
    return false;
  }
}

/** Returns true if the system has version 2 only. */
export function isUnified(): boolean {
  return existsSync(join(mount, 'cgroup.controllers'));
}

/** Group of a process: mount point of its hierarchy, and its path there. */
interface Location {
  mount: string;
  path: string;
}

/** Returns our own group in version 2. */
export function unifiedCgroup(): Location | undefined {
  const path = isUnified() ? ownGroups().get('') : undefined;
  return path === undefined ? undefined : { mount, path };
}

/** Returns our own group in the hierarchy of one controller of version 1. */
export function legacyCgroup(controller: string): Location | undefined {
  const path = ownGroups().get(controller);
  const hierarchy = join(mount, controller);
  return path !== undefined && existsSync(hierarchy) ? { mount: hierarchy, path } : undefined;
}

/** Returns our own group in the hierarchy with memory limits, in either version, and the names of its files. */
export function memoryCgroup() {
  const unified = unifiedCgroup();
  if (unified !== undefined) return { ...unified, limitFile: 'memory.max', usageFile: 'memory.current' };
  const legacy = legacyCgroup('memory');
  if (legacy === undefined) return undefined;
  return { ...legacy, limitFile: 'memory.limit_in_bytes', usageFile: 'memory.usage_in_bytes' };
}

/** Returns our own groups by controller; version 2 has no name. Lines are such as `4:memory:/a/b`, `1:cpu,cpuacct:/`, `0::/a/b`. */
function ownGroups(): Map<string, string> {
  const groups = new Map<string, string>();
  if (!existsSync('/proc/self/cgroup')) return groups;
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n')) {
    const [, controllers = '', ...path] = line.split(':');
    for (const controller of controllers.split(',')) groups.set(controller, path.join(':'));
  }
  return groups;
}
