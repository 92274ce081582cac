import { AppError, type ErrorBody, errorBody, systemCode } from '../errors/app-error.ts';
import { paint, printError, printJson } from './output.ts';

/** Invalid use of a command: exit status 2. */
export class UsageError extends Error {
  readonly hint: string;

  constructor(message: string, hint = '') {
    super(message);
    this.name = 'UsageError';
    this.hint = hint;
  }
}

/** Waits for a file that an argument names. @param what the file is, for the message. @throws UsageError */
export function argumentFrom<T>(reading: Promise<T>, what: string): Promise<T> {
  return reading.catch((error: Error) => {
    throw new UsageError(`${what} cannot be read: ${error.message}`);
  });
}

/** Prints why a command failed. @returns the exit status: 1 for a failure, 2 for wrong usage */
export function reportFailure(error: unknown, json: boolean): number {
  const described = describe(error);
  if (json) printJson({ error: described });
  else {
    const { step, message, hint } = described;
    const marked = paint('red', step ? `failed at ${step}:` : 'failed:', process.stderr);
    printError(`${marked} ${message}${hint === '' ? '' : `\n  ${hint.replaceAll('\n', '\n  ')}`}`);
  }
  return error instanceof UsageError ? 2 : 1;
}

/** `step`: of a deploy */
type Description = Omit<ErrorBody, 'code'> & { code: string; step?: string | null };

function describe(error: unknown): Description {
  if (error instanceof UsageError) return { code: 'wrong_usage', message: error.message, hint: error.hint };
  if (error instanceof AppError) return error.toJSON();
  if (systemCode(error) !== undefined) return { code: 'failed', message: (error as Error).message, hint: '' };
  return {
    ...errorBody(error),
    message: (error as Error)?.stack ?? String(error),
    hint: 'This is a fault in Sluice: report it.',
  };
}
