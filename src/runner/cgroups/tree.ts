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
