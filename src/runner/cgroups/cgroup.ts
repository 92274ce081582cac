import { systemCode } from '../../errors/app-error.ts';
import type { Shortage } from '../../protocol/runner.ts';
import { type CgroupTree, type Refusals, readPids } from './tree.ts';

/** Longest time between a kill by the kernel and its visibility in the counters or in the exit of a process, in ms. */
const sameMoment = 1000;

export interface CgroupLimits {
  /** bytes; null for no limit */
  memory: number | null;
  /** processes and threads; null for no limit */
  processes: number | null;
}

interface CgroupOptions {
  tree: CgroupTree;
  path: string;
  limits: CgroupLimits;
  /** called when nothing uses the cgroup any more; fulfilled when its processes are gone, or after some time */
  released(): Promise<void>;
  warn(message: string): void;
}

/** Cgroup of the processes of one generation, or of one job. */
export class Cgroup {
  readonly #options: CgroupOptions;
  readonly #users = new Set<symbol>();
  #seen: Refusals = { oomKills: 0, memoryLimitHits: 0, forks: 0 };
  #lastKill: { at: number; shortage: Shortage } | undefined;

  constructor(options: CgroupOptions) {
    this.#options = options;
  }

  /**
   * Keeps the cgroup until the returned function is called. The generation does so, and each process that may still be started
   * in the cgroup. The last such call ends all processes in the cgroup, and waits for their end.
   */
  retain(): () => Promise<void> {
    const user = Symbol();
    this.#users.add(user);
    return async () => {
      if (this.#users.delete(user) && this.#users.size === 0) await this.#options.released();
    };
  }

  /** Moves a process and its children into the cgroup. To be called as soon as the process exists. */
  add(pid: number): void {
    const { tree, path, warn } = this.#options;
    if (tree.version === null) return;
    try {
      tree.add(path, pid);
      // A shell forks within microseconds. Only children of the main thread can exist by now.
      for (const child of readPids(`/proc/${pid}/task/${pid}/children`)) this.add(child);
    } catch (error) {
      if (systemCode(error) === 'ESRCH') return;
      warn(`process ${pid} runs without limits: ${(error as Error).message}`);
    }
  }

  /** Returns the shortage of memory for which the kernel has killed a process just now; undefined if there is none. */
  killedBy(): Shortage | undefined {
    const now = performance.now();
    this.shortages(now);
    const last = this.#lastKill;
    return last !== undefined && now - last.at < sameMoment ? last.shortage : undefined;
  }

  /** Returns the shortages since the last call. */
  shortages(now = performance.now()): Shortage[] {
    const { tree, path, limits } = this.#options;
    const seen = this.#seen;
    try {
      this.#seen = tree.refusals(path);
    } catch {
      // Without a free descriptor, for example. The next call counts all.
    }
    const { oomKills, memoryLimitHits, forks } = this.#seen;
    const shortages: Shortage[] = [];
    if (oomKills > seen.oomKills) {
      const isOwn = memoryLimitHits > seen.memoryLimitHits;
      const shortage: Shortage = { of: 'memory', limit: isOwn ? limits.memory : null };
      this.#lastKill = { at: now, shortage };
      shortages.push(shortage);
    }
    if (forks > seen.forks) shortages.push({ of: 'processes', limit: limits.processes });
    return shortages;
  }
}
