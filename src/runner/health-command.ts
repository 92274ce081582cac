import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors/app-error.ts';
import type { GenerationSpec } from '../protocol/runner.ts';
import { AttendedDeadline } from '../system/concurrency/deadline.ts';
import { formatDuration } from '../system/text/format.ts';
import { sharedMasker } from '../system/text/mask/masker.ts';
import type { ProcessContext } from './app-process.ts';
import { runJob } from './jobs/jobs.ts';
import { Tail } from './output/process-output.ts';
import { describeResult } from './schedule/cron-action.ts';

/**
 * Runs `health.command` again and again until it succeeds, `bootTimeout` at most. Does nothing without this setting.
 * @param env variables besides those of the app
 * @throws AppError `health_failed`, with the last lines that the command printed; the reason of `signal`
 */
export async function waitForHealthCommand(
  { spec, group, records, user }: Pick<ProcessContext, 'spec' | 'group' | 'records' | 'user'>,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<void> {
  const { command, timeout, interval } = spec.health;
  if (command === undefined) return;
  using deadline = new AttendedDeadline(spec.bootTimeout);
  const stopped = AbortSignal.any([signal, deadline.signal]);
  const job = {
    argv: ['/bin/sh', '-c', command] as [string, ...string[]],
    directory: spec.directory,
    ...(spec.commandDirectory && { workingDirectory: spec.commandDirectory }),
    env: { ...spec.env, ...env },
    user: spec.key,
    lowPriority: false,
    timeout,
  };
  let last: { detail: string; output: string[] } | undefined;
  for (;;) {
    const tail = new Tail(sharedMasker(spec.log.secrets));
    const report = async ({ text }: { text: string }) => tail.add(Buffer.from(text).toString('latin1'));
    const result = await runJob(job, { signal: stopped, report }, records, { user: user(), group });
    signal.throwIfAborted();
    const isCut = deadline.signal.aborted;
    if (result.code === 0 && !result.timedOut && !isCut) return;
    // The reason of a failure says more than the end of an attempt at the deadline.
    if (!isCut) last = { detail: describeResult(result, timeout, false).detail, output: tail.lines() };
    const isInTime = await sleep(interval, true, { signal: stopped }).catch(() => false);
    signal.throwIfAborted();
    if (!isInTime) throw failed(spec, last ?? { detail: 'it had not ended', output: tail.lines() });
  }
}

function failed(
  { bootTimeout }: GenerationSpec,
  { detail, output }: { detail: string; output: string[] },
): AppError {
  const message = `"health.command" failed (${detail}), and the app was not healthy within ${formatDuration(bootTimeout)}`;
  const hint =
    'Run the command by hand in the app\'s directory. The exit status of a healthy app is 0. If the app needs longer, raise "bootTimeout".';
  const quoted = output.map((line) => `  | ${line}`);
  return new AppError('health_failed', [message, ...quoted].join('\n'), { hint });
}
