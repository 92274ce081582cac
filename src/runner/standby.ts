import { isDeepStrictEqual } from 'node:util';
import type { GenerationSpec, StandbyStatus } from '../protocol/runner.ts';
import { type MachineMemory, machineMemory, reserveOf } from './cgroups/machine-memory.ts';
import type { Generation } from './generation/generation.ts';

/** Interval between two checks of the machine's memory, in ms. */
const memoryInterval = 1000;

/**
 * Generation that was active before, and that stays booted for `keepWarm`: its workers accept nothing, and a rollback opens them
 * again. Its processes run, but its schedules and background processes have ended.
 */
export class Standby {
  readonly generation: Generation;
  /** fulfilled when its workers have finished their requests, or when it ends */
  readonly rested: Promise<void>;
  /** end of its time, in ms of the clock of `tick` */
  readonly until: number;
  /** true when its workers have finished their requests */
  isAtRest = false;
  readonly #ended = new AbortController();
  #memoryCheckedAt = Number.NEGATIVE_INFINITY;

  /** @param generation retired */
  constructor(generation: Generation, until: number) {
    this.generation = generation;
    this.until = until;
    this.rested = generation.rest(this.#ended.signal).then(() => {
      this.isAtRest = true;
    });
  }

  /** Ends the rest: the generation opens again, or drains. */
  leave(): void {
    this.#ended.abort();
  }

  /** Returns true if the workers on standby are those that a boot with this spec would start. */
  isFor(spec: GenerationSpec): boolean {
    return isDeepStrictEqual(comparable(this.generation.spec), comparable(spec));
  }

  /**
   * Checks the workers of the generation.
   * @param now in ms, from a clock that only goes forward
   * @returns `late` if its time is over; a clause on why the generation must end before; undefined if it may stay
   */
  check(now: number, attended: number): { late: true } | { fault: string } | undefined {
    this.generation.tick(now, attended);
    if (now >= this.until) return { late: true };
    if (!this.generation.mayReopen) return { fault: 'one of its workers has ended or has a fault' };
    if (now - this.#memoryCheckedAt < memoryInterval) return undefined;
    this.#memoryCheckedAt = now;
    return hasMemory() ? undefined : { fault: 'memory is short' };
  }

  /** @param now see `check` */
  status(now: number): StandbyStatus {
    const { id, spec } = this.generation;
    const workers = this.generation.status();
    const memory = workers.map(({ memoryBytes }) => memoryBytes);
    return {
      generation: id,
      release: spec.release,
      workers: workers.length,
      memoryBytes: memory.reduce((sum, each) => (sum === null || each === null ? null : sum + each), 0),
      until: new Date(Date.now() + Math.max(0, this.until - now)).toISOString(),
    };
  }
}

/**
 * Returns for how long a retired generation stays on standby, in ms; 0 if it must end.
 * @param next generation that has the traffic now
 */
export function keepWarmFor(former: Generation, next: Generation | undefined): number {
  if (next === undefined || next.spec.workers === 0 || former.spec.workers === 0) return 0;
  const both = [former.spec, next.spec];
  // Another start of the same release has other variables or another number of workers, or replaces workers with a fault.
  const isRollback = former.spec.release !== next.spec.release;
  const samePort = former.spec.host === next.spec.host && former.spec.port === next.spec.port;
  const mayShare = both.every(({ overlap, affinity }) => overlap && !affinity);
  if (!isRollback || !samePort || !mayShare || !former.mayReopen || !hasMemory()) return 0;
  return Math.min(...both.map(({ keepWarm }) => keepWarm));
}

/** Returns true if the machine has memory for processes that are of use only after a rollback. */
export function hasMemory(memory: MachineMemory | undefined = machineMemory()): boolean {
  return memory === undefined || memory.available >= reserveOf(memory) / 2;
}

/** Returns the parts of a spec that have an effect on workers which run already, or on what follows the switch. */
function comparable(spec: GenerationSpec): Partial<GenerationSpec> {
  const { keepsBackground: _, isProven: _proven, bootTimeout: _boot, takesPort: _takes, ...rest } = spec;
  return rest;
}
