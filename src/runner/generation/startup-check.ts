import { setTimeout as sleep } from 'node:timers/promises';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { AttendedDeadline, firstOf } from '../../system/concurrency/deadline.ts';
import type { Exit } from '../exit.ts';
import { checkHealth } from './health.ts';
import type { StartupFailures } from './startup-failure.ts';
import type { Ready, WorkerHandle } from './worker-handle.ts';

/**
 * Waits until a worker listens and is healthy, `bootTimeout` at most for both.
 * @param listens called as soon as the worker listens
 * @throws AppError `boot_exited`, `boot_timeout`, `boot_cluster`, `health_failed`, `settle_exited`; the reason of `signal`
 */
export async function waitUntilHealthy(
  worker: WorkerHandle,
  spec: GenerationSpec,
  failures: StartupFailures,
  listens: (ready: Ready) => void,
  signal: AbortSignal,
): Promise<void> {
  using deadline = new AttendedDeadline(spec.bootTimeout);
  listens(await waitUntilReady(worker, failures, deadline.signal, signal));
  await waitForHealthyAnswer(worker, spec, failures, deadline.signal, signal);
}

async function waitUntilReady(
  worker: WorkerHandle,
  failures: StartupFailures,
  deadline: AbortSignal,
  signal: AbortSignal,
): Promise<Ready> {
  const forked = worker.forked.then(() => 'forked' as const);
  // Listed first, because the fork counts even if the worker listens at the same time.
  const outcome = await firstOf<Ready | Exit | 'forked'>(
    [forked, worker.ready, worker.exited],
    [deadline, signal],
  );
  if (outcome === signal) throw signal.reason;
  if (outcome === deadline) throw await failures.neverListened(worker);
  if (outcome === 'forked') throw await failures.forked(worker);
  if ('type' in outcome) return outcome;
  throw await failures.exited(worker, outcome as Exit);
}

async function waitForHealthyAnswer(
  worker: WorkerHandle,
  { health }: GenerationSpec,
  failures: StartupFailures,
  deadline: AbortSignal,
  signal: AbortSignal,
): Promise<void> {
  const gone = new AbortController();
  void worker.exited.then((exit) => gone.abort(exit));
  void worker.forked.then(() => gone.abort('forked'));
  const either = AbortSignal.any([deadline, signal, gone.signal]);
  let fault: string | undefined;
  for (;;) {
    try {
      const checked = await checkHealth(worker.listening as Ready, health, either);
      worker.protocol = checked.protocol;
      fault = checked.fault;
      if (fault === undefined) return;
      await sleep(health.interval, undefined, { signal: either });
    } catch (error) {
      if (gone.signal.reason === 'forked') throw await failures.forked(worker);
      if (gone.signal.aborted) throw await failures.unsettled(worker, gone.signal.reason);
      if (signal.aborted) throw signal.reason;
      if (!deadline.aborted) throw error;
      throw await failures.unhealthy(worker, fault ?? `did not answer GET ${health.path}`);
    }
  }
}

/**
 * Waits for `settleTime`: many a broken app listens, answers, and crashes a moment later.
 * @param workers workers that have been healthy; some may have ended since
 * @throws AppError `settle_exited`, `boot_cluster`; the reason of `signal`
 */
export async function waitUntilSettled(
  workers: WorkerHandle[],
  spec: GenerationSpec,
  failures: StartupFailures,
  signal: AbortSignal,
): Promise<void> {
  const over = new AbortController();
  try {
    const settled = sleep(spec.settleTime, undefined, { signal: over.signal });
    const deaths = workers.map(async (worker) => {
      const exit = await worker.exited;
      return () => failures.unsettled(worker, exit);
    });
    const forks = workers.map(async (worker) => {
      await worker.forked;
      return () => failures.forked(worker);
    });
    const outcome = await firstOf([...forks, ...deaths, settled], [signal]);
    if (outcome === signal) throw signal.reason;
    if (typeof outcome === 'function') throw await outcome();
  } finally {
    over.abort();
  }
}
