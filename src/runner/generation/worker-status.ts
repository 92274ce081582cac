import type { WorkerStatus } from '../../protocol/runner.ts';
import type { Generation } from './generation.ts';
import type { WorkerHandle } from './worker-handle.ts';

/** A worker as the server is told of it. */
export function workerStatus(generation: Generation, worker: WorkerHandle): WorkerStatus {
  const { pid, instance, state, startedAt, figures, beat } = worker;
  return {
    pid,
    instance,
    generation: generation.id,
    release: generation.spec.release,
    state,
    startedAt: startedAt.toISOString(),
    restarts: generation.pool.restartsOf(worker),
    cpuPercent: figures.cpuPercent,
    memoryBytes: figures.memoryBytes,
    eventLoopDelayMs: beat?.eventLoopDelayMs ?? null,
    connections: beat?.connections ?? null,
    requests: beat?.requests ?? null,
  };
}
