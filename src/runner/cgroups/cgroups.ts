import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GenerationLimits, JobLimits, LimitedBy, LimitsReport } from '../../protocol/runner.ts';
import { Cgroup, type CgroupLimits } from './cgroup.ts';
import type { Found } from './find.ts';
import { machineMemory, memoryForBuild, reserveOf } from './machine-memory.ts';
import { type CgroupTree, noTree } from './tree.ts';

/** Weight of all builds, relative to all apps and to the runner, which both have 100. */
const weightOfBuilds = 10;

const controllers: LimitedBy[] = ['memory', 'cpu', 'pids'];

/** Longest wait for killed processes at the end of the runner, in ms. */
const closeTimeout = 1000;

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
  readonly #groups = new Map<string, Cgroup>();
  /** paths of groups whose killed processes may not be gone yet */
  readonly #ending = new Set<string>();
  #jobs = 0;

  constructor({ tree, reason, wanted }: Found, warn: (message: string) => void) {
    this.#tree = tree;
    this.#warn = warn;
    this.report = {
      version: tree.version,
      wanted,
      effective: controllers.filter((name) => tree.controllers.has(name)),
      missing: controllers.filter((name) => !tree.controllers.has(name)),
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
    for (const path of this.#groupsIn('builds')) await this.#earlier(path).end();
    for (const path of [...this.#groupsIn('apps'), ...this.#parents()]) this.#remove(path);
  }

  /** Makes the cgroup of a generation. @param id of the generation */
  generation(key: string, id: number, { cpuWeight, memory, processes }: GenerationLimits): Cgroup {
    return this.#make(`apps/app-${key}`, `generation-${id}`, cpuWeight, { memory, processes }, memory);
  }

  job({ key, memory, processes, cpuWeight }: JobLimits): Cgroup {
    this.#jobs += 1;
    const machine = machineMemory();
    const limit = memory ?? (machine === undefined ? null : memoryForBuild(machine));
    const name = `job-${process.pid}-${this.#jobs}`;
    return this.#make(`builds/app-${key}`, name, cpuWeight, { memory: limit, processes });
  }

  /** Kills all processes that an earlier runner has left of an app, which must have drained by now. */
  async endLeftovers(key: string): Promise<void> {
    const left = this.#groupsOf(`apps/app-${key}`).filter((path) => !this.#groups.has(path));
    for (const path of left) await this.#end(this.#earlier(path), path);
  }

  /** Removes groups whose processes are gone. To be called from time to time. */
  sweep(): void {
    for (const path of this.#ending) {
      if (!this.#remove(path)) continue;
      this.#ending.delete(path);
      this.#remove(dirname(path));
    }
  }

  /** Removes all groups, when all apps have ended. */
  async close(): Promise<void> {
    await Promise.all([...this.#groups].map(([path, group]) => this.#end(group, path)));
    const deadline = performance.now() + closeTimeout;
    while (this.#ending.size > 0 && performance.now() < deadline) {
      this.sweep();
      await sleep(10);
    }
    for (const path of [...this.#parents(), 'apps', 'builds', '']) this.#remove(path);
  }

  /**
   * Makes a group; without limits if that fails.
   * @param swap limit of swap space in bytes: otherwise a release would use up all of it before it meets its memory limit. Builds
   *   have no such limit, because small machines have swap space for builds
   */
  #make(
    parent: string,
    name: string,
    cpuWeight: number,
    limits: CgroupLimits,
    swap: number | null = null,
  ): Cgroup {
    const path = `${parent}/${name}`;
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
    const released = (group: Cgroup) => void this.#end(group, path);
    const group = new Cgroup({ tree, path, limits, released, warn: this.#warn });
    this.#groups.set(path, group);
    return group;
  }

  async #end(group: Cgroup, path: string): Promise<void> {
    this.#ending.add(path);
    const isGone = await group.end();
    this.#groups.delete(path);
    if (isGone) this.#ending.delete(path);
    // Fails if the app has another generation or job.
    this.#remove(dirname(path));
  }

  /** Returns a group of an earlier runner, without its limits. */
  #earlier(path: string): Cgroup {
    const limits = { memory: null, processes: null };
    return new Cgroup({ tree: this.#tree, path, limits, released: () => undefined, warn: this.#warn });
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

  #remove(path: string): boolean {
    return this.#try(`the cgroup ${path} was not removed`, () => this.#tree.remove(path)) ?? true;
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
