import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { readJsonSettings } from '../config/json-settings.ts';
import { isName } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { UsageError } from './failure.ts';

/**
 * The directory to deploy, as an absolute path.
 * @param written as on the command line
 * @throws UsageError where there is no such directory
 */
export async function appDirectory(written = '.'): Promise<string> {
  const root = resolve(written);
  if (!(await isDirectory(root, written))) throw new UsageError(`${root} is a file, not a directory`);
  return root;
}

/**
 * The name of the app in `directory`, by its package.json.
 * @throws UsageError where that names none; AppError `invalid_settings` where it cannot be read
 */
export async function appNameIn(directory: string): Promise<string> {
  const manifest = await readJsonSettings(join(directory, 'package.json'), join(directory, 'package.json'));
  const name = (manifest as { name?: unknown } | null | undefined)?.name;
  if (typeof name === 'string' && isName(name)) return name;
  throw new UsageError('which app?', 'Say so with --app NAME, such as --app shop.');
}

async function isDirectory(path: string, written: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (!['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) throw error;
    throw new UsageError(`there is no directory ${written}`);
  }
}
