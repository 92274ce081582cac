import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { hasCode, systemCode } from '../../errors/app-error.ts';
/** What can be limited. `io` is there on version 2 alone. */
export type Controller = 'memory' | 'cpu' | 'pids' | 'io';

/** Null is without a limit; what is left out stays as it is. */
export interface TreeLimits {
  /** bytes */
  memory?: number | null;
  /** bytes of swap space besides, where the kernel counts them */
  swap?: number;
  /** processes and threads */
  processes?: number | null;
  /** share of the processor next to its siblings: 100 is what each has that says nothing */
  cpuWeight?: number;
  ioWeight?: number;
}

/** What a group has been refused since it was made. */
export interface Refusals {
  /** processes that were killed because memory ran out: that of the group, or of one above it, or of the machine */
  oomKills: number;
  /** how often its own limit of memory was in the way */
  memoryLimitHits: number;
  /** how often a process or thread was not started because there were too many */
  forks: number;
}

/**
 * The part of the hierarchy that is ours, in one of the kernel's two versions of it. Paths are relative, such as
 * `apps/app-shop`. Everything is synchronous: these are no disks, and a process is not to run a moment without its limits.
 */
export interface CgroupTree {
  readonly version: 1 | 2;
  readonly controllers: ReadonlySet<Controller>;
  /** @param kind a `branch` has other groups in it, a `leaf` has processes */
  make(path: string, kind: 'branch' | 'leaf'): void;
  limit(path: string, limits: TreeLimits): void;
  /** Puts a process into a leaf. @throws ESRCH where it is gone */
  add(path: string, pid: number): void;
  /** Sends SIGKILL to all that are in it. @returns whether there was somebody */
  kill(path: string): boolean;
  /** @returns false where somebody is in it */
  remove(path: string): boolean;
  /** Names of the groups in it. */
  list(path: string): string[];
  refusals(path: string): Refusals;
}

/** Undefined where there is no such file, or no such group any more. */
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

/** The numbers of a file such as memory.events: `oom 2`, one a line. */
export function readCounts(path: string): Record<string, number> {
  const lines = (readControl(path) ?? '').split('\n').filter((line) => line !== '');
  return Object.fromEntries(
    lines.map((line) => {
      const [name = '', value] = line.split(' ');
      return [name, Number(value)];
    }),
  );
}

/** Those of a file such as cgroup.procs. */
export function readPids(path: string): number[] {
  return (readControl(path) ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

export function makeGroup(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

/** @returns false where somebody is in it */
export function removeGroup(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    // The kernel says the first; the second where it is a plain directory that has something in it.
    if (hasCode(error, 'EBUSY', 'ENOTEMPTY')) return false;
    throw error;
  }
}

export function listGroups(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENODEV');
}
