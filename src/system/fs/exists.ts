import { access } from 'node:fs/promises';
import { hasCode } from '../../errors/app-error.ts';

/** Whether there is something at `path` (a link that leads nowhere is nothing). What cannot be looked at is an error. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false;
    throw error;
  }
}

/** What a look at something on the disk gives; undefined where there is nothing of that name. */
export async function ifThere<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
