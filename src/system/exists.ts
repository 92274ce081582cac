import { access } from 'node:fs/promises';
import { systemCode } from '../errors/app-error.ts';

/** Whether there is something at `path` (a link that leads nowhere is nothing). What cannot be looked at is an error. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return false;
    throw error;
  }
}
