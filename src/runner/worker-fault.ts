import type { GenerationSpec } from '../protocol/runner.ts';
import { formatBytes, formatDuration } from '../system/amounts.ts';
import type { WorkerProcess } from './worker-process.ts';

/** Why a worker that is open should be replaced by a fresh one, as a clause; undefined where it should not. */
export function faultOf(
  worker: WorkerProcess,
  { maxMemory, stuckTimeout }: GenerationSpec,
  now: number,
): string | undefined {
  const { isRetiring, state, beat, figures } = worker;
  const { memoryBytes } = figures;
  if (isRetiring) return 'gets no requests any more';
  if (maxMemory !== null && memoryBytes !== null && memoryBytes > maxMemory) {
    return `takes ${formatBytes(memoryBytes)} of memory, more than ${formatBytes(maxMemory)} ("maxMemory")`;
  }
  const isSilent = stuckTimeout > 0 && state === 'open' && beat !== undefined && now - beat.at > stuckTimeout;
  // What waits for a log that cannot be written is not to blame, and a fresh one would wait as well.
  if (isSilent && !worker.output.isHeldUp(now)) {
    return `has not turned its event loop for ${formatDuration(now - beat.at)} ("stuckTimeout")`;
  }
  return undefined;
}

/**
 * Whether a worker has grown so far beyond its limit that a fresh one must not be waited for: from twice the limit on it
 * is to get no more requests, and from four times it is to be ended, where no cgroup has done that.
 */
export function excessOf(
  { figures: { memoryBytes } }: WorkerProcess,
  { maxMemory }: GenerationSpec,
): 'retired' | 'killed' | undefined {
  if (maxMemory === null || memoryBytes === null || memoryBytes <= maxMemory * 2) return undefined;
  return memoryBytes > maxMemory * 4 ? 'killed' : 'retired';
}
