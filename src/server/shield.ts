import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Paths } from '../config/paths.ts';
import { exists } from '../system/fs/exists.ts';
import { writeJsonAtomic } from '../system/fs/files.ts';

/**
 * Puts a package.json above all apps where there is one further up. Node.js asks the nearest one upwards whether a `.js`
 * file is an ES module, so an app without a package.json would be taken for what the directory around our home is: in a
 * checkout of Sluice, for an ES module.
 *
 * Elsewhere there must be none: yarn 1 lists the directory of each package.json above its project, and an app that has a
 * user of its own cannot list this one.
 */
export async function shieldApps(paths: Paths): Promise<void> {
  const path = join(paths.apps, 'package.json');
  // Whose free space is asked for before there is an app.
  await mkdir(paths.apps, { recursive: true, mode: 0o700 });
  if (!(await isBelowPackage(paths.home))) return await rm(path, { force: true });
  // Once is enough: a start must not need disk space, or a full disk would keep apps down that are all there.
  if (await exists(path)) return;
  await writeJsonAtomic(path, { private: true }, 0o644);
}

async function isBelowPackage(directory: string): Promise<boolean> {
  // What we cannot look at, Node.js cannot either.
  if (await exists(join(directory, 'package.json')).catch(() => false)) return true;
  const above = dirname(directory);
  return above !== directory && (await isBelowPackage(above));
}
