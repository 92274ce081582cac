import { access } from 'node:fs/promises';
import { hasCode } from '../../errors/app-error.ts';

/** Returns true if `path` exists, and false for a broken link. @throws the error of the system if that is unknown */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false;
    throw error;
  }
}

/** Waits for a call that reads a file or a directory; returns undefined if the file does not exist. */
export async function ifThere<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
