import { lstat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { isMissing } from '../system/fs/read-file.ts';
import { type AppSettings, loadAppSettings, topOf } from './app-settings.ts';
import { parentsOf } from './workspaces.ts';

/** Settings of an app in its release. `directory` is set, and all paths are relative to the release. */
export type ReleaseSettings = AppSettings & { directory: string };

/**
 * Returns the settings of an app in its release: those of the workspace member that is the app, if there is one, else those at the
 * top. `directory` is '' for an app at the top.
 * @param member directory of that member, from the setting `root`
 * @throws AppError `invalid_settings`
 */
export async function releaseSettings(tree: string, member: string): Promise<ReleaseSettings> {
  const settings = await loadAppSettings(topOf(join(tree, member)));
  if (member !== '' && settings.directory !== undefined) {
    throw new AppError(
      'invalid_settings',
      `${member} has "directory" in its settings, but "root" names ${member}`,
      {
        hint: `Remove "directory": the app runs in ${member}.`,
      },
    );
  }
  const directory = member === '' ? (settings.directory ?? '') : member;
  await assertDirectory(tree, directory);
  const inRelease = (path: string) => posix.join(directory, path);
  const [shared, assets] = [settings.shared.map(inRelease), settings.assets.map(inRelease)];
  return { ...settings, directory, shared, assets };
}

/** Returns the directories of programs of packages, for PATH: those of a directory in a tree, and of the directories above it. */
export function programDirectories(tree: string, directory = ''): string[] {
  return parentsOf(directory).map((path) => join(tree, path, 'node_modules/.bin'));
}

async function assertDirectory(tree: string, directory: string): Promise<void> {
  for (const path of parentsOf(directory)) {
    const stats = await lstat(join(tree, path)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    if (stats?.isDirectory()) continue;
    throw new AppError('invalid_settings', `"directory" is ${directory}, but there is no such directory`, {
      hint: 'Set a directory of the release. The path must not pass through a link.',
    });
  }
}
