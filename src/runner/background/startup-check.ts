import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { AttendedDeadline, firstOf } from '../../system/concurrency/deadline.ts';
import { formatDuration } from '../../system/text/format.ts';
import type { BackgroundProcess } from './background-process.ts';

/**
 * Waits until the processes of a release without workers are healthy, and have run for `settleTime` since they were ready.
 * @param checkHealth runs `health.command`
 * @throws AppError `boot_exited`, `boot_timeout`, `health_failed`, `settle_exited`; the reason of `signal`
 */
export async function waitUntilHealthy(
  processes: BackgroundProcess[],
  spec: GenerationSpec,
  checkHealth: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  using failures = new DisposableStack();
  const failed = failures.adopt(new AbortController(), (controller) => controller.abort());
  for (const process of processes) void process.failed.then((failure) => failed.abort(failure));
  const stopped = AbortSignal.any([failed.signal, signal]);
  try {
    await waitUntilReady(processes, spec, stopped);
    await Promise.all([checkHealth(stopped), sleep(spec.settleTime, undefined, { signal: stopped })]);
  } catch (error) {
    if (failed.signal.aborted) throw await failed.signal.reason();
    signal.throwIfAborted();
    throw error;
  }
}

/** Waits until all processes are ready, `bootTimeout` at most. */
async function waitUntilReady(
  processes: BackgroundProcess[],
  { bootTimeout }: GenerationSpec,
  signal: AbortSignal,
): Promise<void> {
  using deadline = new AttendedDeadline(bootTimeout);
  for (const process of processes) {
    await firstOf<unknown>([process.ready], [signal, deadline.signal]);
    signal.throwIfAborted();
    if (deadline.signal.aborted)
      throw new AppError(
        'boot_timeout',
        process.waitsForReady
          ? `${process.name} did not call process.send('ready') within ${formatDuration(bootTimeout)} ("waitReady")`
          : `${process.name} was not started within ${formatDuration(bootTimeout)}`,
      );
  }
}
