import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, systemCode } from '../../errors/app-error.ts';
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

const wanted: Controller[] = ['memory', 'cpu', 'pids', 'io'];

/** Files that exist only with a certain I/O scheduler, or if the kernel counts swap space. */
const optional = ['io.weight', 'memory.swap.max'];

/** Group of our own process: a group cannot limit the groups in it while it has processes itself. */
export const ownLeaf = 'runner';

/** Tree in version 2, with one hierarchy. Each group enables controllers for the groups in it. */
export class UnifiedTree implements CgroupTree {
  readonly version = 2;
  readonly controllers: ReadonlySet<Controller>;
  readonly #root: string;

  /**
   * @param root absolute path of the group that systemd has delegated to us; its processes move into a leaf
   * @throws the error of the kernel if the group is not ours
   */
  constructor(root: string) {
    this.#root = root;
    makeGroup(join(root, ownLeaf));
    for (const pid of readPids(join(root, 'cgroup.procs'))) {
      moveUnlessGone(join(root, ownLeaf), pid);
    }
    const offered = new Set((readControl(join(root, 'cgroup.controllers')) ?? '').trim().split(' '));
    const there = wanted.filter((controller) => offered.has(controller));
    // One by one, so that one refused controller does not affect the others.
    this.controllers = new Set(there.filter((controller) => enable(root, controller)));
  }

  make(path: string, kind: 'branch' | 'leaf'): void {
    makeGroup(this.#at(path));
    if (kind === 'branch') for (const controller of this.controllers) enable(this.#at(path), controller);
  }

  limit(path: string, { memory, swap, processes, cpuWeight, ioWeight }: TreeLimits): void {
    const set = (controller: Controller, file: string, value: string | number | undefined) => {
      const full = this.#at(path, file);
      if (value === undefined || !this.controllers.has(controller)) return;
      if (!optional.includes(file) || existsSync(full)) writeControl(full, value);
    };
    set('memory', 'memory.max', memory === null ? 'max' : memory);
    set('memory', 'memory.swap.max', swap);
    set('pids', 'pids.max', processes === null ? 'max' : processes);
    set('cpu', 'cpu.weight', cpuWeight);
    set('io', 'io.weight', ioWeight);
  }

  add(path: string, pid: number): void {
    writeControl(this.#at(path, 'cgroup.procs'), pid);
  }

  kill(path: string): boolean {
    const pids = readPids(this.#at(path, 'cgroup.procs'));
    if (pids.length === 0) return false;
    // From Linux 5.14 on, the kernel kills all processes at once, including those that are just being forked.
    if (existsSync(this.#at(path, 'cgroup.kill'))) writeControl(this.#at(path, 'cgroup.kill'), 1);
    else for (const pid of pids) signalProcess(pid, 'SIGKILL');
    return true;
  }

  remove(path: string): boolean {
    return removeGroup(this.#at(path));
  }

  list(path: string): string[] {
    return listGroups(this.#at(path));
  }

  refusals(path: string): Refusals {
    const memory = readCounts(this.#at(path, 'memory.events'));
    const { max: forks = 0 } = readCounts(this.#at(path, 'pids.events'));
    return { oomKills: memory['oom_kill'] ?? 0, memoryLimitHits: memory['oom'] ?? 0, forks };
  }

  #at(...path: string[]): string {
    return join(this.#root, ...path);
  }
}

function moveUnlessGone(leaf: string, pid: number): void {
  try {
    writeControl(join(leaf, 'cgroup.procs'), pid);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

/** Enables a controller for the groups in a group. @returns false if the kernel refuses */
function enable(group: string, controller: Controller): boolean {
  try {
    writeControl(join(group, 'cgroup.subtree_control'), `+${controller}`);
    return true;
  } catch (error) {
    // The parent does not offer the controller, or threads with a real-time policy block `cpu`.
    if (hasCode(error, 'ENOENT', 'EINVAL', 'EOPNOTSUPP', 'EBUSY')) return false;
    throw error;
  }
}
