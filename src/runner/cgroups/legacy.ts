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

/** Equivalent of `cpu.weight` 100 in the units of version 1, and the limits of the range. */
const shares = { usual: 1024, least: 2, most: 262_144 };

/** File that exists only if the kernel counts swap space. */
const memoryAndSwap = 'memory.memsw.limit_in_bytes';

/** Tree in version 1, with one hierarchy per controller. It has the same groups in each of them. */
export class LegacyTree implements CgroupTree {
  readonly version = 1;
  readonly controllers: ReadonlySet<LegacyController>;
  readonly #roots: Map<LegacyController, string>;

  /** @param roots absolute paths of our group in each hierarchy; they are made unless they exist */
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
    // The limit of both together requires a limit of memory.
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
    // Version 1 cannot kill all processes at once. Without new processes, the group does not grow meanwhile.
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

  /** Returns the processes in all hierarchies: an interrupted move leaves a process in some of them. */
  #pids(path: string): number[] {
    const all = [...this.#roots.values()].flatMap((root) => readPids(join(root, path, 'cgroup.procs')));
    return [...new Set(all)];
  }
}

function toShares(cpuWeight: number): number {
  const value = Math.round((cpuWeight * shares.usual) / 100);
  return Math.min(shares.most, Math.max(shares.least, value));
}
