import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CgroupTree, type Controller, makeGroup, noTree, ownLeaf, readControl, unifiedTree } from './tree.ts';

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
    if (tree.controllers.length > 0) return { tree, reason: null, wanted: true };
    return none('its cgroup has no controllers, or is read-only');
  } catch (error) {
    return none(`its cgroup cannot be managed: ${(error as Error).message}`);
  }
}

function unified(): CgroupTree | undefined {
  const own = ownCgroup('memory');
  if (own === undefined) return undefined;
  // From systemd 254 on, the unit can start this process in the leaf.
  const path = basename(own.path) === ownLeaf ? dirname(own.path) : own.path;
  return unifiedTree(join(own.mount, path));
}

/** Makes groups below our own group of each controller, which is the root if systemd does not manage that controller. */
function legacy(home: string): CgroupTree | undefined {
  const name = `sluice-${createHash('sha256').update(home).digest('hex').slice(0, 8)}`;
  const roots = (['memory', 'cpu', 'pids'] as const).flatMap((controller): [Controller, string][] => {
    const own = ownCgroup(controller);
    return own === undefined ? [] : [[controller, join(own.mount, own.path, name)]];
  });
  if (roots.length === 0) return undefined;
  return new CgroupTree(1, new Map(roots.filter(([, root]) => canMake(root))));
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

/** Returns our own group in the hierarchy of a controller: the mount point of that hierarchy, and our path there. */
export function ownCgroup(controller: string): { mount: string; path: string } | undefined {
  // Lines are such as `4:memory:/a/b`, `1:cpu,cpuacct:/`, and `0::/a/b` for version 2.
  const lines = (readControl('/proc/self/cgroup') ?? '').trim().split('\n');
  const name = isUnified() ? '' : controller;
  const own = lines.map((line) => line.split(':')).find(([, names]) => names?.split(',').includes(name));
  const hierarchy = join(mount, name);
  return own && existsSync(hierarchy) ? { mount: hierarchy, path: own.slice(2).join(':') } : undefined;
}
