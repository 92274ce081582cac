import { AppError } from '../errors/app-error.ts';
import type { Masker } from '../system/text/mask/masker.ts';

/** The same error without secrets in what it says: its message may quote the output of an app or of a build. */
export function maskError(error: unknown, masker: Masker): unknown {
  if (!(error instanceof AppError)) return error;
  const { code, message, hint, cause } = error;
  return new AppError(code, masker.maskText(message), { hint: masker.maskText(hint), cause });
}
