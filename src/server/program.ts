import { type ErrorBody, errorBody } from '../errors/app-error.ts';
import { printable } from '../system/text/printable.ts';

/** Exit statuses of the server, by which libexec/supervise.sh and systemd decide whether to start the server again. */
export const exitStatus = { cannotStart: 1, anotherIsUp: 3, crashed: 70, atRest: 75 };

/**
 * Ends the process when `work` has ended, with the exit status that `work` returns. An error of the user or of the disk is printed
 * without a stack. stdout and stderr may go to a full disk: without `error` listeners, a failed write would end the process.
 */
export async function asProgram(work: () => Promise<number>): Promise<never> {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  try {
    process.exit(await work());
  } catch (error) {
    const body = errorBody(error);
    if (body.code === 'internal') throw error;
    process.stderr.write(printable(explain(body, error as Error), false));
    process.exit(body.code === 'already_running' ? exitStatus.anotherIsUp : exitStatus.cannotStart);
  }
}

/** Describes an error, with the message of the system, which names the file. */
function explain({ message, hint }: ErrorBody, error: Error): string {
  const details = error.message === message ? '' : ` (${error.message})`;
  return `sluice: ${message}${details}\n${hint && `  ${hint}\n`}`;
}
