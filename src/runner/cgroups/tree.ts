import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/app-error.ts';
import { signalProcess } from '../../system/process/processes.ts';

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

type ControlFiles = Record<string, string | number | undefined>;

/** Files that exist only with a certain I/O scheduler, or if the kernel counts swap space. */
const optional = ['io.weight', 'memory.swap.max', 'memory.memsw.limit_in_bytes'];

/**
 * Part of the cgroup hierarchy that the runner manages, in one of the kernel's two versions. Version 1 has a hierarchy per
 * controller, with the same groups in each of them. Paths are relative, such as `apps/app-shop`. All methods are synchronous, so
 * that no process runs without its limits.
 */
export class CgroupTree {
  readonly version: 1 | 2 | null;
  readonly controllers: readonly Controller[];
  /** absolute path of our group in the hierarchy of each controller; without any, all methods do nothing */
  readonly #roots: ReadonlyMap<Controller, string>;

  constructor(version: 1 | 2 | null, roots: ReadonlyMap<Controller, string>) {
    this.version = version;
    this.#roots = roots;
    this.controllers = [...roots.keys()];
  }

  /** Makes a group unless it exists. @param kind a `branch` contains groups, a `leaf` contains processes */
  make(path: string, kind: 'branch' | 'leaf'): void {
    for (const group of this.#groups(path)) makeGroup(group);
    if (this.version !== 2 || kind === 'leaf') return;
    for (const [controller, root] of this.#roots) enable(join(root, path), controller);
  }

  limit(path: string, limits: TreeLimits): void {
    const files = this.version === 1 ? legacyFiles(limits) : unifiedFiles(limits);
    for (const [file, value] of Object.entries(files)) {
      const root = this.#roots.get(file.split('.')[0] as Controller);
      if (root === undefined || value === undefined) continue;
      const full = join(root, path, file);
      if (!optional.includes(file) || existsSync(full)) writeControl(full, value);
    }
  }

  /** Moves a process into a leaf. @throws ESRCH if the process is gone */
  add(path: string, pid: number): void {
    for (const group of this.#groups(path)) writeControl(join(group, 'cgroup.procs'), pid);
  }

  /** Sends SIGKILL to all processes of a leaf. @returns false if there are none */
  kill(path: string): boolean {
    // In version 1, an interrupted move leaves a process in some hierarchies.
    const groups = this.#groups(path);
    const pids = new Set(groups.flatMap((group) => readPids(join(group, 'cgroup.procs'))));
    if (pids.size === 0) return false;
    // From Linux 5.14 on, version 2 kills all processes at once, including those that are just being forked.
    const killFile = join(groups[0] as string, 'cgroup.kill');
    if (existsSync(killFile)) {
      writeControl(killFile, 1);
    } else {
      // Without new processes, the group does not grow meanwhile.
      this.limit(path, { processes: 0 });
      for (const pid of pids) signalProcess(pid, 'SIGKILL');
    }
    return true;
  }

  /** Removes a group. @returns false if the group has processes or groups */
  remove(path: string): boolean {
    return this.#groups(path).map(removeGroup).every(Boolean);
  }

  /** Returns the names of the groups in a group. */
  list(path: string): string[] {
    return [...new Set(this.#groups(path).flatMap(listGroups))];
  }

  refusals(path: string): Refusals {
    const read = (controller: Controller, file: string) => {
      const root = this.#roots.get(controller);
      return root === undefined ? '' : (readControl(join(root, path, file)) ?? '');
    };
    const isLegacy = this.version === 1;
    const memory = parseCounts(read('memory', isLegacy ? 'memory.oom_control' : 'memory.events'));
    return {
      oomKills: memory['oom_kill'] ?? 0,
      memoryLimitHits: isLegacy ? Number(read('memory', 'memory.failcnt')) : (memory['oom'] ?? 0),
      forks: parseCounts(read('pids', 'pids.events'))['max'] ?? 0,
    };
  }

  /** Returns the absolute paths of a group, in each hierarchy. */
  #groups(path: string): string[] {
    return [...new Set(this.#roots.values())].map((root) => join(root, path));
  }
}

/** Tree of a runner that has no cgroups. */
export const noTree = new CgroupTree(null, new Map());

/**
 * Makes the tree of version 2, in which each group enables controllers for the groups in it.
 * @param root absolute path of the group that systemd has delegated to us; its processes move into a leaf
 * @throws the error of the kernel if the group is not ours
 */
export function unifiedTree(root: string): CgroupTree {
  const leaf = join(root, ownLeaf);
  makeGroup(leaf);
  for (const pid of readPids(join(root, 'cgroup.procs')))
    unless(['ESRCH'], undefined, () => writeControl(join(leaf, 'cgroup.procs'), pid));
  const offered = (readControl(join(root, 'cgroup.controllers')) ?? '').trim().split(' ');
  const wanted = (['memory', 'cpu', 'pids', 'io'] as const).filter((each) => offered.includes(each));
  // One by one, so that one refused controller does not affect the others.
  const enabled = wanted.filter((controller) => enable(root, controller));
  return new CgroupTree(2, new Map(enabled.map((controller) => [controller, root])));
}

/** Group of our own process: a group cannot limit the groups in it while it has processes itself. */
export const ownLeaf = 'runner';

/** Enables a controller of version 2 for the groups in a group. @returns false if the kernel refuses */
function enable(group: string, controller: Controller): boolean {
  // The parent does not offer the controller, or threads with a real-time policy block `cpu`.
  return unless(['ENOENT', 'EINVAL', 'EOPNOTSUPP', 'EBUSY'], false, () => {
    writeControl(join(group, 'cgroup.subtree_control'), `+${controller}`);
    return true;
  });
}

function unifiedFiles({ memory, swap, processes, cpuWeight, ioWeight }: TreeLimits): ControlFiles {
  return {
    'memory.max': memory === null ? 'max' : memory,
    'memory.swap.max': swap,
    'pids.max': processes === null ? 'max' : processes,
    'cpu.weight': cpuWeight,
    'io.weight': ioWeight,
  };
}

/** Equivalent of `cpu.weight` 100 in the units of version 1, and the limits of the range. */
const shares = { usual: 1024, least: 2, most: 262_144 };

function legacyFiles({ memory, swap, processes, cpuWeight }: TreeLimits): ControlFiles {
  const weight = cpuWeight && Math.round((cpuWeight * shares.usual) / 100);
  return {
    'memory.limit_in_bytes': memory === null ? -1 : memory,
    // The limit of both together requires a limit of memory.
    'memory.memsw.limit_in_bytes': memory && swap ? memory + swap : undefined,
    'pids.max': processes === null ? 'max' : processes,
    'cpu.shares': weight && Math.min(shares.most, Math.max(shares.least, weight)),
  };
}

/** Codes of the errors of files whose group does not exist. */
const gone = ['ENOENT', 'ENODEV'];

/** Reads a control file; undefined if the file or its group does not exist. */
export function readControl(path: string): string | undefined {
  return unless(gone, undefined, () => readFileSync(path, 'utf8'));
}

function writeControl(path: string, value: string | number): void {
  writeFileSync(path, String(value));
}

/** Parses a file such as memory.events, with a line such as `oom 2` for each count. */
export function parseCounts(text: string): Record<string, number> {
  const lines = [...text.matchAll(/^(\S+) (\S+)$/gm)];
  return Object.fromEntries(lines.map(([, name, value]) => [name, Number(value)]));
}

/** Reads a list of pids, such as the file cgroup.procs. */
export function readPids(path: string): number[] {
  return (readControl(path) ?? '').split(/\s+/).filter(Boolean).map(Number);
}

export function makeGroup(path: string): void {
  unless(['EEXIST'], undefined, () => mkdirSync(path));
}

/** Removes a group. @returns false if the group has processes or groups */
function removeGroup(path: string): boolean {
  // The kernel reports EBUSY for a cgroup, and ENOTEMPTY for a plain directory.
  return unless(['EBUSY', 'ENOTEMPTY'], false, () => {
    unless(gone, undefined, () => rmdirSync(path));
    return true;
  });
}

function listGroups(path: string): string[] {
  const entries = unless(gone, [], () => readdirSync(path, { withFileTypes: true }));
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/** Returns the result of `act`, or `otherwise` if it throws an error with one of the codes. */
function unless<Result>(codes: string[], otherwise: Result, act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    if (hasCode(error, ...codes)) return otherwise;
    throw error;
  }
}
