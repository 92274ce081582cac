import type { GenerationSpec } from '../protocol/runner.ts';
import { firstOf } from '../system/concurrency/deadline.ts';
import { formatBytes } from '../system/text/format.ts';
import { machineMemory } from './cgroups/machine-memory.ts';
import type { Generation } from './generation/generation.ts';

/** Factor for the memory of a new worker, which may take more than an old one. */
const margin = 1.2;

/** Returns true if memory is too short for another generation besides those that run. */
export function isMemoryShort(active: Generation | undefined): boolean {
  const memory = active && machineMemory();
  return active !== undefined && memory !== undefined && memory.available < memoryOf(active) * margin;
}

/** Returns the memory of all workers, in bytes. Shared memory counts for each worker. */
function memoryOf({ workers }: Generation): number {
  for (const { figures } of workers) figures.read();
  return [...workers].reduce((sum, { figures }) => sum + (figures.memoryBytes ?? 0), 0);
}

/**
 * Prepares a low-memory switch if memory is too short for two generations: retires half of the old workers before half of
 * the new ones start. The other new workers start when the old generation has drained.
 * @returns the number of new workers to start before the switch
 */
export async function prepareLowMemorySwitch(
  active: Generation | undefined,
  { workers: count, affinity }: Pick<GenerationSpec, 'workers' | 'affinity'>,
  report: (line: string) => void,
  signal: AbortSignal,
): Promise<number> {
  const memory = active && machineMemory();
  if (active === undefined || memory === undefined) return count;
  const workers = [...active.workers];
  const used = memoryOf(active);
  if (memory.available >= used * margin) return count;
  const short = `memory is short: ${formatBytes(memory.available)} available, and the live release takes ${formatBytes(used)}`;
  // The clients of an empty slot would wait.
  if (affinity || active.spec.affinity) {
    report(`${short}; with "affinity", a low-memory switch is not possible, so both releases run at once`);
    return count;
  }
  const live = workers.filter(({ state, isRetiring }) => state === 'open' && !isRetiring).length;
  if (live < 2) {
    report(
      `${short}; with a single worker, a low-memory switch is not possible, so both releases run at once`,
    );
    return count;
  }
  const retired = Math.ceil(live / 2);
  const first = Math.max(1, Math.floor(count / 2));
  report(
    `${short}; low-memory switch: ${retired} of ${live} old workers end before ${first} of ${count} new workers start`,
  );
  await firstOf<unknown>([active.pool.retireSome(retired)], [signal]);
  signal.throwIfAborted();
  return first;
}
