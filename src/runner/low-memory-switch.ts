import { firstOf } from '../system/concurrency/deadline.ts';
import { formatBytes } from '../system/text/format.ts';
import { machineMemory } from './cgroups/machine-memory.ts';
import type { Generation } from './generation/generation.ts';

/** A fresh worker may take more than one that has been up for a while, and the machine needs some too. */
const margin = 1.2;

/**
 * Sees to it that a generation can boot beside the active one. Where memory is too short for both, the active one first
 * ends half of its workers, and half of the new ones boot; the switch is the same as ever, and the others follow when the
 * old ones are gone.
 * @returns how many are to boot before the switch
 */
export async function prepareLowMemorySwitch(
  active: Generation | undefined,
  wanted: number,
  report: (line: string) => void,
  signal: AbortSignal,
): Promise<number> {
  const memory = active && machineMemory();
  if (active === undefined || memory === undefined) return wanted;
  const taken = active.memoryBytes;
  if (memory.available >= taken * margin) return wanted;
  const short = `memory is short: ${formatBytes(memory.available)} available, and the live release takes ${formatBytes(taken)}`;
  const live = active.serving().length;
  if (live < 2) {
    report(
      `${short}; a single worker cannot be switched in halves, so both releases run at once for a moment`,
    );
    return wanted;
  }
  const half = Math.ceil(live / 2);
  const first = Math.max(1, Math.floor(wanted / 2));
  report(
    `${short}; it is switched in halves: room for ${first} of ${wanted} new workers is made by ending ${half} of ${live} old ones`,
  );
  await firstOf<unknown>([active.pool.retireSome(half)], [signal]);
  signal.throwIfAborted();
  return first;
}
