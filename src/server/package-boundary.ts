import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Paths } from '../config/paths.ts';
import { exists } from '../system/fs/exists.ts';
import { writeJsonAtomic } from '../system/fs/files.ts';

/**
 * Writes a package.json above all apps if a directory above the home has one. The nearest package.json decides if Node.js loads a
 * `.js` file as an ES module. Without ours, an app without a package.json in a checkout of Sluice would be an ES module.
 *
 * Otherwise removes the file: yarn 1 lists the directory of each package.json above its project, and an app with a user of its own
 * cannot list this directory.
 */
export async function ensurePackageBoundary(paths: Paths): Promise<void> {
  const path = join(paths.apps, 'package.json');
  // The free space of this directory is checked before any app exists.
  await mkdir(paths.apps, { recursive: true, mode: 0o700 });
  if (!(await isBelowPackage(paths.home))) return await rm(path, { force: true });
  // A start must not need disk space: on a full disk, apps still start.
  if (await exists(path)) return;
  await writeJsonAtomic(path, { private: true }, 0o644);
}

async function isBelowPackage(directory: string): Promise<boolean> {
  // Node.js cannot read what we cannot read.
  if (await exists(join(directory, 'package.json')).catch(() => false)) return true;
  const above = dirname(directory);
  return above !== directory && (await isBelowPackage(above));
}
