import { AppError } from '../errors/app-error.ts';

/** Ends the process when `work` is over; an error that is the user's is told as one, without a stack. */
export async function asProgram(work: () => Promise<void>): Promise<never> {
  try {
    await work();
    process.exit(0);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    process.stderr.write(`sluice: ${error.message}\n${error.hint && `  ${error.hint}\n`}`);
    process.exit(1);
  }
}
