import { AppError } from '../errors/app-error.ts';
import { readJson } from '../system/files.ts';

/**
 * The parsed content of a file that people write, or undefined where there is none.
 * @param name what to call it in an error
 * @throws AppError `invalid_settings` where it is no JSON
 */
export async function readJsonSettings(path: string, name: string): Promise<unknown> {
  try {
    return await readJson(path);
  } catch (error) {
    if (!(error instanceof Error) || !(error.cause instanceof SyntaxError)) throw error;
    throw new AppError('invalid_settings', `${name} is not valid JSON: ${error.cause.message}`, {
      cause: error,
    });
  }
}
