import { AppError, systemCode } from '../errors/app-error.ts';
import { parseJson } from '../system/fs/files.ts';
import { NoFile, openFile, readText } from '../system/fs/read-file.ts';
import { formatBytes } from '../system/text/amounts.ts';

/** No settings file is near as large; one that a build has run away with must not fill our memory. */
export const maxSettingsBytes = 4 * 1024 ** 2;

/**
 * The parsed content of a file that people write, or undefined where there is none.
 * @param name what to call it in an error
 * @param within see openFile: of what an app may have put there
 * @throws AppError `invalid_settings` where it is no file, is too large, or is no JSON
 */
export async function readJsonSettings(path: string, name: string, within?: string): Promise<unknown> {
  try {
    await using file = await openFile(path, within);
    const { size } = await file.stat();
    if (size > maxSettingsBytes) throw tooLarge(name, size);
    return parseJsonSettings(await readText(file), name);
  } catch (error) {
    if (error instanceof NoFile) throw unreadable(name, error.message, error);
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === 'ELOOP' || code === 'EACCES') throw unreadable(name, `cannot be read: ${code}`, error);
    throw error;
  }
}

/** The same of text that is at hand already. @throws AppError `invalid_settings` where it is no JSON */
export function parseJsonSettings(text: string, name: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw unreadable(name, `is not valid JSON: ${(error as Error).message}`, error);
  }
}

/** @param size in bytes */
export function tooLarge(name: string, size: number): AppError {
  return unreadable(name, `is ${formatBytes(size)}, and at most ${formatBytes(maxSettingsBytes)} are read`);
}

function unreadable(name: string, why: string, cause?: unknown): AppError {
  return new AppError('invalid_settings', `${name} ${why}`, { cause });
}
