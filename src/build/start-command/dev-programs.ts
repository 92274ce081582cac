import { join } from 'node:path';
import { readJsonSettings } from '../../config/json-settings.ts';
import type { Manifest } from '../../config/package-manifest.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';

/**
 * Whether a program is certain to be gone when the app runs: only dev dependencies bring it. False where that cannot be
 * told before the install.
 */
export async function isGoneWhenItRuns(
  directory: string,
  manifest: Manifest,
  program: string,
): Promise<boolean> {
  const { packages } = (await readLock(directory)) ?? {};
  if (packages) {
    const bringing = Object.values(packages).filter((entry) => entry?.bin?.[program] !== undefined);
    return bringing.length > 0 && bringing.every((entry) => entry?.dev === true);
  }
  const { dependencies, optionalDependencies, peerDependencies, devDependencies, workspaces } = manifest;
  const kept = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
  if (kept.length > 0 || workspaces !== undefined || !Object.hasOwn(devDependencies, program)) return false;
  // Of yarn, not every version can remove dev dependencies.
  return !manifest.packageManager?.startsWith('yarn') && !(await exists(join(directory, 'yarn.lock')));
}

/** As far as we read it: `dev` is npm's mark on what only dev dependencies need. */
interface Lock {
  packages?: Record<string, { dev?: boolean; bin?: Record<string, string> } | undefined> | null;
}

/** What is wrong with a lockfile that we cannot read is for the install to say. */
async function readLock(directory: string): Promise<Lock | undefined> {
  try {
    return (await readJsonSettings(
      join(directory, 'package-lock.json'),
      'package-lock.json',
      directory,
    )) as Lock;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}
