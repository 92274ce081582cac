import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { formatDuration } from '../../system/text/format.ts';
import type { AppProcess } from '../app-process.ts';
import { describeExit, type Exit } from '../exit.ts';
import { failure } from '../generation/startup-failure.ts';

/** Returns the error for a background process that ends before its release is live. @param name such as `mail.0` */
export function ended(
  process: AppProcess,
  name: string,
  { settleTime }: GenerationSpec,
  exit: Exit,
): Promise<AppError> {
  const hint = `Read the last lines of its output. Each process of an app without workers must run for ${formatDuration(settleTime)} ("settleTime") before the release is live, unless it ends with a status in "stopExitCodes", or with status 0 and "autorestart": false.`;
  return failure(process, 'settle_exited', `${name} ${describeExit(exit)}`, { hint });
}

/** Returns the error for a background process that the system does not start. */
export function notStarted(name: string, why: string): AppError {
  return new AppError('boot_exited', `${name} could not be started: ${why}`);
}

/** Returns the error for a background process that does not run, and whose last lines cannot be read in time. */
export function endedUnexplained(name: string): AppError {
  return new AppError('settle_exited', `${name} has ended`, { hint: 'Read its output: `sluice logs`.' });
}
