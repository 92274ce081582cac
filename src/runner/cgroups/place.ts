import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where systemd, and whoever follows it, has the hierarchies mounted. */
const mount = '/sys/fs/cgroup';

/** Whether there is nothing but version 2. */
export function isUnified(): boolean {
  return existsSync(join(mount, 'cgroup.controllers'));
}

/** Our own group in version 2. */
export function unifiedPlace(): { mount: string; path: string } | undefined {
  const path = isUnified() ? ownGroups().get('') : undefined;
  return path === undefined ? undefined : { mount, path };
}

/** Our own group in the hierarchy of one controller of version 1. */
export function legacyPlace(controller: string): { mount: string; path: string } | undefined {
  const path = ownGroups().get(controller);
  const hierarchy = join(mount, controller);
  return path !== undefined && existsSync(hierarchy) ? { mount: hierarchy, path } : undefined;
}

/** Where to look for limits of memory, in either version. */
export function memoryPlace() {
  const unified = unifiedPlace();
  if (unified !== undefined) return { ...unified, limitFile: 'memory.max', usageFile: 'memory.current' };
  const legacy = legacyPlace('memory');
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
