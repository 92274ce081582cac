import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { signalProcess } from '../../system/process/processes.ts';
import {
  type CgroupTree,
  type Controller,
  listGroups,
  makeGroup,
  type Refusals,
  readControl,
  readCounts,
  readPids,
  removeGroup,
  type TreeLimits,
  writeControl,
} from './tree.ts';

export type LegacyController = Exclude<Controller, 'io'>;

/** What `cpu.weight` 100 is in the units of version 1, and the least and the most that it takes. */
const shares = { usual: 1024, least: 2, most: 262_144 };

/** There only where the kernel counts swap space. */
const memoryAndSwap = 'memory.memsw.limit_in_bytes';

/** Version 1: a hierarchy for each controller. Ours has the same groups in all of them. */
export class LegacyTree implements CgroupTree {
  readonly version = 1;
  readonly controllers: ReadonlySet<LegacyController>;
  readonly #roots: Map<LegacyController, string>;

  /** @param roots absolute paths of what is ours in each hierarchy, one at least; what is not there is made */
  constructor(roots: Map<LegacyController, string>) {
    this.#roots = roots;
    this.controllers = new Set(roots.keys());
    for (const root of roots.values()) makeGroup(root);
  }

  make(path: string): void {
    for (const root of this.#roots.values()) makeGroup(join(root, path));
  }

  limit(path: string, { memory, swap, processes, cpuWeight }: TreeLimits): void {
    const set = (controller: LegacyController, file: string, value: string | number | undefined) => {
      const root = this.#roots.get(controller);
      if (root !== undefined && value !== undefined) writeControl(join(root, path, file), value);
    };
    set('memory', 'memory.limit_in_bytes', memory === null ? -1 : memory);
    // Both together have one, which only what has one of its own of memory can be given.
    if (typeof memory === 'number' && swap !== undefined && this.#countsSwap(path))
      set('memory', memoryAndSwap, memory + swap);
    set('pids', 'pids.max', processes === null ? 'max' : processes);
    set('cpu', 'cpu.shares', cpuWeight === undefined ? undefined : toShares(cpuWeight));
  }

  #countsSwap(path: string): boolean {
    const root = this.#roots.get('memory');
    return root !== undefined && existsSync(join(root, path, memoryAndSwap));
  }

  add(path: string, pid: number): void {
    for (const root of this.#roots.values()) writeControl(join(root, path, 'cgroup.procs'), pid);
  }

  kill(path: string): boolean {
    const found = this.#pids(path);
    if (found.length === 0) return false;
    // There is no way to end all at once. What can start nothing any more does not grow while it is being killed.
    this.limit(path, { processes: 0 });
    for (const pid of found) signalProcess(pid, 'SIGKILL');
    return true;
  }

  remove(path: string): boolean {
    return [...this.#roots.values()].map((root) => removeGroup(join(root, path))).every((gone) => gone);
  }

  list(path: string): string[] {
    return [...new Set([...this.#roots.values()].flatMap((root) => listGroups(join(root, path))))];
  }

  refusals(path: string): Refusals {
    const memory = this.#roots.get('memory');
    const pids = this.#roots.get('pids');
    const refusals: Refusals = { oomKills: 0, memoryLimitHits: 0, forks: 0 };
    if (memory !== undefined) {
      refusals.oomKills = readCounts(join(memory, path, 'memory.oom_control'))['oom_kill'] ?? 0;
      refusals.memoryLimitHits = Number(readControl(join(memory, path, 'memory.failcnt')) ?? 0);
    }
    if (pids !== undefined) refusals.forks = readCounts(join(pids, path, 'pids.events'))['max'] ?? 0;
    return refusals;
  }

  /** Of all hierarchies: a process that was not moved whole is to be found, too. */
  #pids(path: string): number[] {
    const all = [...this.#roots.values()].flatMap((root) => readPids(join(root, path, 'cgroup.procs')));
    return [...new Set(all)];
  }
}

function toShares(cpuWeight: number): number {
  const value = Math.round((cpuWeight * shares.usual) / 100);
  return Math.min(shares.most, Math.max(shares.least, value));
}
