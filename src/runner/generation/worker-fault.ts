import type { GenerationSpec } from '../../protocol/runner.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import type { WorkerHandle } from './worker-handle.ts';

/** Why a worker that is open should be replaced by a fresh one, as a clause; undefined where it should not. */
export function faultOf(
  worker: WorkerHandle,
  { maxMemory, stuckTimeout }: GenerationSpec,
): string | undefined {
  const { isRetiring, state, beat, silentFor, figures } = worker;
  const { memoryBytes } = figures;
  if (maxMemory !== null && memoryBytes !== null && memoryBytes > maxMemory) {
    return `takes ${formatBytes(memoryBytes)} of memory, more than ${formatBytes(maxMemory)} ("maxMemory")`;
  }
  if (isRetiring) return 'accepts no requests any more';
  const isOpen = state === 'open' || state === 'opening';
  const isSilent = stuckTimeout > 0 && isOpen && beat !== undefined && silentFor > stuckTimeout;
  // What waits for a log that cannot be written is not to blame, and a fresh one would wait as well.
  if (isSilent && !worker.output.isBlocked(performance.now())) {
    return `has not turned its event loop for ${formatDuration(silentFor)} ("stuckTimeout")`;
  }
  return undefined;
}

/**
 * Returns true if a worker has grown so far beyond its limit that it is killed without waiting for a fresh worker. A worker
 * whose event loop turns stops accepting requests long before that: see src/worker/health-report.cjs.
 */
export function isBeyondHelp(
  { figures: { memoryBytes } }: WorkerHandle,
  { maxMemory }: GenerationSpec,
): boolean {
  return maxMemory !== null && memoryBytes !== null && memoryBytes > maxMemory * 4;
}
