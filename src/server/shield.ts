import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Paths } from '../config/paths.ts';
import { exists } from '../system/exists.ts';
import { writeJsonAtomic } from '../system/files.ts';

/**
 * Puts a package.json above all apps. Node.js asks the nearest one upwards whether a `.js` file is an ES module, so an
 * app without a package.json would be taken for what the directory around our home is: in a checkout of Sluice, for an
 * ES module.
 */
export async function shieldApps(paths: Paths): Promise<void> {
  const path = join(paths.apps, 'package.json');
  // Once is enough: a start must not need disk space, or a full disk would keep apps down that are all there.
  if (await exists(path)) return;
  await mkdir(paths.apps, { recursive: true, mode: 0o700 });
  await writeJsonAtomic(path, { private: true }, 0o644);
}
