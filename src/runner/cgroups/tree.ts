import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { hasCode, systemCode } from '../../errors/app-error.ts';

/** Controller of cgroups. Only version 2 has `io`. */
export type Controller = 'memory' | 'cpu' | 'pids' | 'io';

/** Limits of a group: null for no limit, undefined for no change. */
export interface TreeLimits {
  /** bytes */
  memory?: number | null;
  /** bytes of swap space in addition, if the kernel counts swap space */
  swap?: number;
  /** processes and threads */
  processes?: number | null;
  /** share of the processor relative to its siblings: 100 is the default of each */
  cpuWeight?: number;
  ioWeight?: number;
}

/** Number of times that a group has met a limit since it was made. */
export interface Refusals {
  /** processes that were killed because memory ran out: that of the group, of a parent, or of the machine */
  oomKills: number;
  /** number of times that the group met its own memory limit */
  memoryLimitHits: number;
  /** processes and threads that were not started, because there were too many */
  forks: number;
}

/**
 * Part of the cgroup hierarchy that the runner manages, in one of the kernel's two versions. Paths are relative, such as
 * `apps/app-shop`. All methods are synchronous, so that no process runs without its limits.
 */
export interface CgroupTree {
  readonly version: 1 | 2 | null;
  readonly controllers: ReadonlySet<Controller>;
  /** Makes a group unless it exists. @param kind a `branch` contains groups, a `leaf` contains processes */
  make(path: string, kind: 'branch' | 'leaf'): void;
  limit(path: string, limits: TreeLimits): void;
  /** Moves a process into a leaf. @throws ESRCH if the process is gone */
  add(path: string, pid: number): void;
  /** Sends SIGKILL to all processes of a leaf. @returns false if there are none */
  kill(path: string): boolean;
  /** Removes a group. @returns false if the group has processes or groups */
  remove(path: string): boolean;
  /** Returns the names of the groups in a group. */
  list(path: string): string[];
  refusals(path: string): Refusals;
}

/** Tree of a runner that has no cgroups. Its methods do nothing. */
export const noTree: CgroupTree = {
  version: null,
  controllers: new Set(),
  make: () => undefined,
  limit: () => undefined,
  add: () => undefined,
  kill: () => false,
  remove: () => true,
  list: () => [],
  refusals: () => ({ oomKills: 0, memoryLimitHits: 0, forks: 0 }),
};

/** Reads a control file; undefined if the file or its group does not exist. */
export function readControl(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

export function writeControl(path: string, value: string | number): void {
  writeFileSync(path, String(value));
}

/** Reads a file such as memory.events, with a line such as `oom 2` for each count. */
export function readCounts(path: string): Record<string, number> {
  const lines = [...(readControl(path) ?? '').matchAll(/^(\S+) (\S+)$/gm)];
  return Object.fromEntries(lines.map(([, name, value]) => [name, Number(value)]));
}

/** Reads a list of pids, such as the file cgroup.procs. */
export function readPids(path: string): number[] {
  return (readControl(path) ?? '').split(/\s+/).filter(Boolean).map(Number);
}

export function makeGroup(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

/** Removes a group. @returns false if the group has processes or groups */
export function removeGroup(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    // The kernel reports EBUSY for a cgroup, and ENOTEMPTY for a plain directory.
    if (hasCode(error, 'EBUSY', 'ENOTEMPTY')) return false;
    throw error;
  }
}

export function listGroups(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENODEV');
}
