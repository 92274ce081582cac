import { type ErrorBody, errorBody } from '../errors/app-error.ts';

/** As `libexec/supervise.sh` expects them; it starts a server with any other status but 0 again. */
export const exitStatus = { cannotStart: 1, anotherIsUp: 3, crashed: 70 };

/**
 * Ends the process when `work` is over; an error that is the user's, or the disk's, is told as one, without a stack. What is
 * written to stdout or stderr may be lost, since both may lie on a full disk: without a listener that would end the process.
 */
export async function asProgram(work: () => Promise<void>): Promise<never> {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  try {
    await work();
    process.exit(0);
  } catch (error) {
    const body = errorBody(error);
    if (body.code === 'internal') throw error;
    process.stderr.write(explain(body, error as Error));
    process.exit(body.code === 'already_running' ? exitStatus.anotherIsUp : exitStatus.cannotStart);
  }
}

/** With the words of the system, which say what file it is about. */
function explain({ message, hint }: ErrorBody, error: Error): string {
  const details = error.message === message ? '' : ` (${error.message})`;
  return `sluice: ${message}${details}\n${hint && `  ${hint}\n`}`;
}
