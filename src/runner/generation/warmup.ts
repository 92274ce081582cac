import type { GenerationSpec } from '../../protocol/runner.ts';
import { AttendedDeadline } from '../../system/concurrency/deadline.ts';
import { type CheckedWorker, checkHealth } from './health.ts';

/** Time limit for all warmup requests of a worker, in ms. A boot does not wait longer for a slow page. */
export const longestWarmup = 1000;

/**
 * Requests pages from a healthy worker, so that Node.js has compiled the code for requests before the worker gets traffic. The
 * answers do not matter: the worker is healthy.
 * @param longest time limit, in ms
 * @throws the reason of `signal`
 */
export async function warmUp(
  worker: CheckedWorker,
  { health, warmup }: Pick<GenerationSpec, 'health' | 'warmup'>,
  signal: AbortSignal,
  longest = longestWarmup,
): Promise<void> {
  // A server of `node:net` need not answer.
  if (worker.protocol === 'tcp' || worker.protocol === 'tls') return;
  using deadline = new AttendedDeadline(longest);
  const bounded = AbortSignal.any([signal, deadline.signal]);
  const { body: _, ...request } = health;
  try {
    for (let round = 0; round < warmup.count; round += 1) {
      for (const path of warmup.paths ?? [health.path])
        await checkHealth(worker, { ...request, path }, bounded);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!deadline.signal.aborted) throw error;
  }
}
