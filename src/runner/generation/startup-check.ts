import { setTimeout as sleep } from 'node:timers/promises';
import type { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { AttendedDeadline, firstOf } from '../../system/concurrency/deadline.ts';
import type { Clock } from '../clock.ts';
import * as execFailures from './exec-failure.ts';
import { checkHealth, type Health } from './health.ts';
import * as failures from './startup-failure.ts';
import { warmUp } from './warmup.ts';
import type { Ready, WorkerHandle } from './worker-handle.ts';

/**
 * Waits until a worker listens and is healthy, `bootTimeout` at most for both.
 * @param listens called as soon as the worker listens
 * @throws AppError `boot_exited`, `boot_timeout`, `boot_cluster`, `health_failed`, `settle_exited`, `unsupported_start`; the
 *   reason of `signal`
 */
export async function waitUntilHealthy(
  worker: WorkerHandle,
  spec: GenerationSpec,
  listens: (ready: Ready) => void,
  signal: AbortSignal,
): Promise<void> {
  using deadline = new AttendedDeadline(spec.bootTimeout);
  const failed = new AbortController();
  void failureOf(worker, spec).then((failure) => failed.abort(failure));
  const stopped = AbortSignal.any([failed.signal, signal, deadline.signal]);
  using listened = new DisposableStack();
  if (spec.exec !== undefined) {
    const watching = listened.adopt(new AbortController(), (controller) => controller.abort());
    execFailures.foreignListener(worker, spec, watching.signal).then(
      (failure) => failed.abort(failure),
      // The wait has ended.
      () => undefined,
    );
  }
  let last: Health | undefined;
  try {
    await firstOf<unknown>([worker.ready], [stopped]);
    stopped.throwIfAborted();
    listened.dispose();
    listens(worker.listening as Ready);
    for (;;) {
      last = await checkHealth(worker.listening as Ready, spec.health, stopped);
      worker.protocol = last.protocol;
      if (last.fault === undefined) break;
      await sleep(spec.health.interval, undefined, { signal: stopped });
    }
    worker.noteHealthy();
    const { port } = worker.listening as Ready;
    await warmUp({ port, protocol: last.protocol }, spec, stopped);
  } catch (error) {
    if (failed.signal.aborted) throw await failed.signal.reason();
    if (signal.aborted) throw signal.reason;
    if (!deadline.signal.aborted) throw error;
    if (worker.listening === undefined) {
      const isExec = spec.exec !== undefined && !spec.waitReady;
      throw await (isExec ? execFailures : failures).neverListened(worker, spec);
    }
    throw await failures.unhealthy(worker, spec, last);
  }
}

/**
 * Part of `settleTime` that each worker besides the first must run, and also the first one of a release that has been live before: it
 * shows the faults that only the others have, or that are new, such as a database that is gone.
 */
const shortPart = 1 / 4;

/**
 * Waits until the first worker has run for `settleTime` since it was healthy, and each other worker for a quarter of that time:
 * many a broken app listens, answers, and crashes a moment later. All workers run the same code, so the first one shows most
 * faults, while the others boot. Only the others show faults such as a second port or a locked file, and they show them soon.
 * @param workers workers that have been healthy, the first one first; some may have ended since
 * @throws AppError `settle_exited`, `boot_cluster`; the reason of `signal`
 */
export async function waitUntilSettled(
  workers: WorkerHandle[],
  spec: GenerationSpec,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  const ended = new AbortController();
  const left = workers.map(
    (worker, index) =>
      spec.settleTime * (index === 0 && !spec.isProven ? 1 : shortPart) - worker.healthyFor(),
  );
  try {
    const settled = clock.sleep(Math.max(0, ...left), ended.signal).then(() => undefined);
    const failed = workers.map((worker) => failureOf(worker, spec));
    const outcome = await firstOf<Failure | undefined>([...failed, settled], [signal]);
    signal.throwIfAborted();
    if (typeof outcome === 'function') throw await outcome();
  } finally {
    ended.abort();
  }
}

type Failure = () => Promise<AppError>;

/** Waits until a worker exits or uses node:cluster. @returns a function that describes the failure */
function failureOf(worker: WorkerHandle, spec: GenerationSpec): Promise<Failure> {
  return Promise.race([
    worker.forked.then(() => () => failures.forked(worker, spec)),
    worker.exited.then((exit) => () => {
      const hasListened = worker.listening !== undefined;
      const { exited } = spec.exec === undefined ? failures : execFailures;
      return (hasListened ? failures.unsettled : exited)(worker, spec, exit);
    }),
  ]);
}
