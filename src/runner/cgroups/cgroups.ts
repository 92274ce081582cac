import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GenerationLimits, JobLimits, LimitedBy, LimitsReport } from '../../protocol/runner.ts';
import { Cgroup, type CgroupLimits } from './cgroup.ts';
import type { Found } from './find.ts';
import { type MachineMemory, machineMemory, memoryForBuild, reserveOf } from './machine-memory.ts';
import type { CgroupTree } from './tree.ts';

/** Next to `apps`, and to our own process, which both have what is usual: 100. */
const weightOfBuilds = 10;

const limitable: LimitedBy[] = ['memory', 'cpu', 'pids'];

/** How long it is waited for what was killed to be gone when we end, in ms. */
const closeWithin = 1000;

/**
 * The cgroups of all that the runner starts:
 *
 *     apps/app-KEY/generation-N    workers, background processes and cron commands of a generation
 *     builds/app-KEY/job-N         one command of a build, or a hook
 *
 * `app-`, since version 1 has files of its own beside them, such as `tasks`. Where nothing can be managed all of this
 * does nothing. Nothing of it fails: an app is to run rather than to be limited.
 */
export class Cgroups {
  readonly report: LimitsReport;
  readonly #tree: CgroupTree | undefined;
  readonly #warn: (message: string) => void;
  readonly #held = new Map<string, Cgroup>();
  /** emptied, but for what takes a moment to die */
  readonly #leaving = new Set<string>();
  #jobs = 0;

  constructor(found: Found, warn: (message: string) => void) {
    this.#tree = 'tree' in found ? found.tree : undefined;
    this.#warn = warn;
    const controllers: ReadonlySet<string> = this.#tree?.controllers ?? new Set();
    this.report = {
      version: this.#tree?.version ?? null,
      wanted: 'tree' in found || found.wanted,
      effective: limitable.filter((name) => controllers.has(name)),
      missing: limitable.filter((name) => !controllers.has(name)),
      reason: 'reason' in found ? found.reason : null,
    };
  }

  /** Ends jobs of an earlier runner, whole, and removes what nobody is in. Its workers live on in theirs. */
  async start(): Promise<void> {
    const tree = this.#tree;
    if (tree === undefined) return;
    const machine = machineMemory();
    this.#try('the cgroups of apps and builds were not made', () => {
      tree.make('apps', 'branch');
      tree.make('builds', 'branch');
      // What all apps together may take, so that the machine, and we, outlive one that eats all there is.
      if (machine !== undefined) tree.limit('apps', { memory: machine.total - reserveOf(machine) });
      tree.limit('builds', { cpuWeight: weightOfBuilds, ioWeight: weightOfBuilds });
    });
    for (const path of this.#groupsIn('builds')) await this.#groupAt(path).end();
    for (const path of [...this.#groupsIn('apps'), ...this.#parents()]) this.#remove(path);
  }

  /** @param id of the generation */
  generation(key: string, id: number, { cpuWeight, memory, processes }: GenerationLimits): Cgroup {
    const [parent, name] = [`apps/app-${key}`, `generation-${id}`];
    const group = this.#make(parent, name, cpuWeight, { memory, processes });
    this.#limitSwap(`${parent}/${name}`, memory);
    return group;
  }

  job({ key, memory, processes, cpuWeight }: JobLimits): Cgroup {
    this.#jobs += 1;
    const name = `job-${process.pid}-${this.#jobs}`;
    const limit = memory ?? this.#forBuild(machineMemory());
    return this.#make(`builds/app-${key}`, name, cpuWeight, { memory: limit, processes });
  }

  /** Ends what an earlier runner has left of an app, whatever that still does: its own are to be gone by now. */
  async endLeftovers(key: string): Promise<void> {
    const left = this.#groupsOf(`apps/app-${key}`).filter((path) => !this.#held.has(path));
    for (const path of left) await this.#end(this.#groupAt(path), path);
  }

  /** Removes what nobody is in any more: to be called from time to time. */
  sweep(): void {
    for (const path of this.#leaving) {
      if (!this.#remove(path)) continue;
      this.#leaving.delete(path);
      this.#remove(dirname(path));
    }
  }

  /** When all apps have ended: leaves nothing behind, and nobody. */
  async close(): Promise<void> {
    await Promise.all([...this.#held].map(([path, group]) => this.#end(group, path)));
    const end = performance.now() + closeWithin;
    while (this.#leaving.size > 0 && performance.now() < end) {
      this.sweep();
      await sleep(10);
    }
    for (const path of [...this.#parents(), 'apps', 'builds', '']) this.#remove(path);
  }

  #make(parent: string, name: string, cpuWeight: number, limits: CgroupLimits): Cgroup {
    const tree = this.#tree;
    const path = `${parent}/${name}`;
    const made = this.#try(`${path} runs without limits`, () => {
      if (tree === undefined) return false;
      tree.make(parent, 'branch');
      tree.limit(parent, { cpuWeight });
      tree.make(path, 'leaf');
      tree.limit(path, limits);
      return true;
    });
    const place = made && tree !== undefined ? { tree, path } : undefined;
    const released = (group: Cgroup) => void this.#end(group, path);
    const group = new Cgroup({ place, limits, released, warn: this.#warn });
    if (place !== undefined) this.#held.set(path, group);
    return group;
  }

  /**
   * Before it meets its limit of memory, a release would else take all the swap space that there is. A build has no such
   * limit: on a small machine, that is what swap space is for.
   */
  #limitSwap(path: string, memory: number | null): void {
    if (memory === null || !this.#held.has(path)) return;
    this.#try(`${path} may take any amount of swap space`, () =>
      this.#tree?.limit(path, { memory, swap: memory }),
    );
  }

  async #end(group: Cgroup, path: string): Promise<void> {
    this.#leaving.add(path);
    const gone = await group.end();
    this.#held.delete(path);
    if (gone) this.#leaving.delete(path);
    // Without those that still have another generation, or job.
    this.#remove(dirname(path));
  }

  /** One whose limits are not known any more, and need not be. */
  #groupAt(path: string): Cgroup {
    const place = this.#tree && { tree: this.#tree, path };
    const limits = { memory: null, processes: null };
    return new Cgroup({ place, limits, released: () => undefined, warn: this.#warn });
  }

  #groupsOf(parent: string): string[] {
    return (this.#tree?.list(parent) ?? []).map((name) => `${parent}/${name}`);
  }

  #groupsIn(top: 'apps' | 'builds'): string[] {
    return this.#groupsOf(top).flatMap((parent) => this.#groupsOf(parent));
  }

  #parents(): string[] {
    return [...this.#groupsOf('apps'), ...this.#groupsOf('builds')];
  }

  #remove(path: string): boolean {
    return this.#try(`the cgroup ${path} was not removed`, () => this.#tree?.remove(path)) ?? true;
  }

  #forBuild(machine: MachineMemory | undefined): number | null {
    return machine === undefined ? null : memoryForBuild(machine);
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
