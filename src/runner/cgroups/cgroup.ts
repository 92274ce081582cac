import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../../errors/app-error.ts';
import type { Shortage } from '../../protocol/runner.ts';
import { type CgroupTree, type Refusals, readControl } from './tree.ts';

/** Between two looks at whether those that were killed are gone, and how many there are; in ms. */
const look = { every: 5, times: 400 };

/** What killed a process may be seen in the group a moment later, or with the death of another; in ms. */
const sameMoment = 1000;

export interface CgroupLimits {
  /** bytes; null for any */
  memory: number | null;
  /** processes and threads; null for any */
  processes: number | null;
}

interface GroupOptions {
  /** undefined where nothing can be managed: it then does nothing */
  place: { tree: CgroupTree; path: string } | undefined;
  limits: CgroupLimits;
  /** told when nobody holds it any more */
  released(group: Cgroup): void;
  warn(message: string): void;
}

/** The cgroup of the processes of one generation, or of one job. */
export class Cgroup {
  readonly #options: GroupOptions;
  #holders = 0;
  #seen: Refusals = { oomKills: 0, memoryLimitHits: 0, forks: 0 };
  #lastKill: { at: number; shortage: Shortage } | undefined;
  /** true if the last look failed */
  #isBlind = false;

  constructor(options: GroupOptions) {
    this.#options = options;
  }

  /**
   * Keeps it from being ended, until what is returned is called: by the generation, and by each process that may still
   * be started in it when that is over.
   */
  retain(): () => void {
    this.#holders += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holders -= 1;
      if (this.#holders === 0) this.#options.released(this);
    };
  }

  /** Puts a process in, and what it has started already: to be called as soon as there is one. */
  add(pid: number): void {
    const { place, warn } = this.#options;
    if (place === undefined) return;
    try {
      place.tree.add(place.path, pid);
      for (const child of childrenOf(pid)) this.add(child);
    } catch (error) {
      if (systemCode(error) === 'ESRCH') return;
      warn(`process ${pid} runs without limits: ${(error as Error).message}`);
    }
  }

  /** Why one of its processes has been killed just now, where that was because memory ran out. */
  killedBy(): Shortage | undefined {
    const now = performance.now();
    this.#look(now);
    const last = this.#lastKill;
    return last !== undefined && now - last.at < sameMoment ? last.shortage : undefined;
  }

  /** What it has been short of since the last look. */
  shortages(now = performance.now()): Shortage[] {
    return this.#look(now);
  }

  /** Kills all that are in it, what has left its session and its parents too, and removes it. */
  async end(): Promise<boolean> {
    const { place, warn } = this.#options;
    if (place === undefined) return true;
    const { tree, path } = place;
    try {
      for (let times = 0; tree.kill(path) && times < look.times; times += 1) await sleep(look.every);
      return tree.remove(path);
    } catch (error) {
      warn(`the cgroup ${path} was not ended: ${(error as Error).message}`);
      return false;
    }
  }

  /** @returns undefined if the counters cannot be read, for example without a free descriptor: the next look counts them */
  #refusals({ tree, path }: NonNullable<GroupOptions['place']>): Refusals | undefined {
    try {
      const refusals = tree.refusals(path);
      this.#isBlind = false;
      return refusals;
    } catch (error) {
      if (!this.#isBlind)
        this.#options.warn(`the cgroup ${path} cannot be read: ${(error as Error).message}`);
      this.#isBlind = true;
      return undefined;
    }
  }

  #look(now: number): Shortage[] {
    const { place, limits } = this.#options;
    if (place === undefined) return [];
    const refusals = this.#refusals(place);
    if (refusals === undefined) return [];
    const seen = this.#seen;
    this.#seen = refusals;
    const shortages: Shortage[] = [];
    if (refusals.oomKills > seen.oomKills) {
      const isOwn = refusals.memoryLimitHits > seen.memoryLimitHits;
      const shortage: Shortage = { of: 'memory', limit: isOwn ? limits.memory : null };
      this.#lastKill = { at: now, shortage };
      shortages.push(shortage);
    }
    if (refusals.forks > seen.forks) shortages.push({ of: 'processes', limit: limits.processes });
    return shortages;
  }
}

/** Of its main thread: a shell forks within microseconds, before it has been put anywhere. */
function childrenOf(pid: number): number[] {
  const text = readControl(`/proc/${pid}/task/${pid}/children`) ?? '';
  return text
    .split(' ')
    .filter((word) => word !== '')
    .map(Number);
}
