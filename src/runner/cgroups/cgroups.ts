import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isShortage } from '../../errors/app-error.ts';
import type { GenerationLimits, JobLimits, LimitedBy, LimitsReport } from '../../protocol/runner.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { backoffDelay } from '../../system/concurrency/retry.ts';
import { Cgroup, type CgroupLimits } from './cgroup.ts';
import type { Found } from './find.ts';
import { machineMemory, memoryForBuild, reserveOf } from './machine-memory.ts';
import { type CgroupTree, noTree } from './tree.ts';

/** Weight of all builds, relative to all apps and to the runner, which both have 100. */
const weightOfBuilds = 10;

const controllers: LimitedBy[] = ['memory', 'cpu', 'pids'];

/** Longest wait for killed processes, in ms. The groups of those that take longer are removed later. */
const endTimeout = 2000;
/** Delays between two checks whether killed processes are gone, in ms. */
const checkDelays = { initial: 5, factor: 1.1, ceiling: 250 };

/**
 * Cgroups of all processes that the runner starts:
 *
 *     apps/app-KEY/generation-N    workers, background processes and cron commands of a generation
 *     builds/app-KEY/job-N         one command of a build, or a hook
 *
 * The prefix `app-` distinguishes groups from the kernel's own files, such as `tasks` in version 1. No method throws: an app must
 * run even if it cannot be limited.
 */
export class Cgroups {
  readonly report: LimitsReport;
  readonly #tree: CgroupTree;
  readonly #warn: (message: string) => void;
  /** paths of the groups of this runner */
  readonly #groups = new Set<string>();
  #jobs = 0;

  constructor({ tree, reason, wanted }: Found, warn: (message: string) => void) {
    this.#tree = tree;
    this.#warn = warn;
    this.report = {
      version: tree.version,
      wanted,
      effective: controllers.filter((name) => tree.controllers.includes(name)),
      missing: controllers.filter((name) => !tree.controllers.includes(name)),
      reason,
    };
  }

  /** Ends all jobs of an earlier runner, and removes empty groups. Workers of that runner stay in their groups. */
  async start(): Promise<void> {
    const tree = this.#tree;
    if (tree.version === null) return;
    const machine = machineMemory();
    this.#try('the cgroups of apps and builds were not made', () => {
      tree.make('apps', 'branch');
      tree.make('builds', 'branch');
      // An app that takes all memory must not end the machine or the runner.
      if (machine !== undefined) tree.limit('apps', { memory: machine.total - reserveOf(machine) });
      tree.limit('builds', { cpuWeight: weightOfBuilds, ioWeight: weightOfBuilds });
    });
    await this.#endAll(this.#groupsIn('builds'));
    for (const path of [...this.#groupsIn('apps'), ...this.#parents()]) this.#remove(path);
  }

  /** Makes the cgroup of a generation. @param id of the generation */
  generation(key: string, id: number, { cpuWeight, memory, processes }: GenerationLimits): Cgroup {
    return this.#make(`apps/app-${key}/generation-${id}`, cpuWeight, { memory, processes }, memory);
  }

  job({ key, memory, processes, cpuWeight }: JobLimits): Cgroup {
    this.#jobs += 1;
    const machine = machineMemory();
    const limit = memory ?? (machine === undefined ? null : memoryForBuild(machine));
    const path = `builds/app-${key}/job-${process.pid}-${this.#jobs}`;
    return this.#make(path, cpuWeight, { memory: limit, processes });
  }

  /** Kills all processes that an earlier runner has left of an app, which must have drained by now. */
  endLeftovers(key: string): Promise<void> {
    return this.#endAll(this.#groupsOf(`apps/app-${key}`).filter((path) => !this.#groups.has(path)));
  }

  /** Removes all groups, when all apps have ended. */
  async close(): Promise<void> {
    await this.#endAll([...this.#groups]);
    for (const path of [...this.#parents(), 'apps', 'builds', '']) this.#remove(path);
  }

  /**
   * Makes a group; without limits if that fails.
   * @param swap limit of swap space in bytes: otherwise a release would use up all of it before it meets its memory limit. Builds
   *   have no such limit, because small machines have swap space for builds
   */
  #make(path: string, cpuWeight: number, limits: CgroupLimits, swap: number | null = null): Cgroup {
    const parent = dirname(path);
    const made = this.#try(`${path} runs without limits`, () => {
      this.#tree.make(parent, 'branch');
      this.#tree.limit(parent, { cpuWeight });
      this.#tree.make(path, 'leaf');
      this.#tree.limit(path, limits);
      return this.#tree;
    });
    const tree = made ?? noTree;
    if (swap !== null)
      this.#try(`${path} may use all swap space`, () => tree.limit(path, { memory: limits.memory, swap }));
    this.#groups.add(path);
    return new Cgroup({ tree, path, limits, released: () => this.#endAll([path]), warn: this.#warn });
  }

  async #endAll(paths: string[]): Promise<void> {
    await withDeadline(Promise.all(paths.map((path) => this.#end(path))), endTimeout);
  }

  /** Kills all processes of a group, and removes the group. */
  async #end(path: string): Promise<void> {
    const what = `the cgroup ${path} was not removed`;
    const isGone = () => {
      try {
        return !this.#tree.kill(path) && this.#tree.remove(path);
      } catch (error) {
        if (isShortage(error)) return false;
        throw error;
      }
    };
    for (let checks = 1; this.#try(what, isGone) === false; checks += 1)
      await sleep(backoffDelay(checks, checkDelays), undefined, { ref: false });
    this.#groups.delete(path);
    // Fails if the app has another generation or job.
    this.#remove(dirname(path));
  }

  #groupsOf(parent: string): string[] {
    return this.#tree.list(parent).map((name) => `${parent}/${name}`);
  }

  #groupsIn(top: 'apps' | 'builds'): string[] {
    return this.#groupsOf(top).flatMap((parent) => this.#groupsOf(parent));
  }

  #parents(): string[] {
    return [...this.#groupsOf('apps'), ...this.#groupsOf('builds')];
  }

  #remove(path: string): void {
    this.#try(`the cgroup ${path} was not removed`, () => this.#tree.remove(path));
  }

  #try<Result>(what: string, act: () => Result): Result | undefined {
    try {
      return act();
    } catch (error) {
      this.#warn(`${what}: ${(error as Error).message}`);
      return undefined;
    }
  }
}
