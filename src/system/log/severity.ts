import { errorBody } from '../../errors/app-error.ts';
import { errorStatus } from '../../errors/codes.ts';

/**
 * How to log the error that ended what somebody asked for: what they can put right themselves is a warning, and so is
 * that we are being stopped; all else is ours, or for whoever looks after this machine.
 */
export function severity(error: unknown): 'warn' | 'error' {
  const { code } = errorBody(error);
  return errorStatus[code] < 500 || code === 'stopping' ? 'warn' : 'error';
}
