import { stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { isMissing } from '../system/fs/read-file.ts';
import { type AppSettings, loadAppSettings, readAppSettings, topOf } from './app-settings.ts';
import { workspaceOf } from './workspaces.ts';

/** Settings about a whole repository. They are in the sluice.json at its top. */
const ofRepository: readonly string[] = ['root', 'branches', '$schema'] satisfies (keyof AppSettings)[];

/** Position of an app in the files that were pushed or uploaded. */
export interface AppRoot {
  /** directory that becomes the release, relative to the files; '' for all of them */
  root: string;
  /** member of a workspace that is the app, relative to the release; '' if the release is the app */
  member: string;
}

/**
 * Returns the position of `app` in the tree, from the setting `root`. The workspace of a member becomes the release: it has the
 * lockfile and the packages that the member depends on.
 * @throws AppError `invalid_settings`, also for settings that would be ignored
 */
export async function rootOf(tree: string, app: string): Promise<AppRoot> {
  const directory = await rootSetting(tree, app);
  const workspace = directory === '' ? undefined : await workspaceOf(tree, directory);
  if (workspace === undefined) return { root: directory, member: '' };
  return { root: workspace, member: posix.relative(workspace, directory) };
}

/** Returns the setting `root` for an app; '' if there is none. */
async function rootSetting(tree: string, app: string): Promise<string> {
  const { value } = await readAppSettings(topOf(tree));
  if (typeof value !== 'object' || value === null || !('root' in value)) return '';
  const { root: setting } = await loadAppSettings(topOf(tree));
  if (setting === undefined) return '';
  // Inherited properties such as `constructor` are no apps.
  const own = typeof setting === 'object' && Object.hasOwn(setting, app) ? setting[app] : undefined;
  const root = typeof setting === 'string' ? setting : own;
  if (root === undefined) {
    throw invalidRoot(
      `"root" names no directory for the app ${app}`,
      `It has ${Object.keys(setting).join(', ') || 'none'}. Add "${app}": "DIRECTORY" to it, or push to another app.`,
    );
  }
  const directory = join(tree, root);
  // The caller reports a missing directory: it may be behind a link, which is not created yet.
  const stats = await stat(directory).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
  if (!stats?.isDirectory()) return root;
  const settings: Record<string, unknown> = { ...(await loadAppSettings(topOf(directory))) };
  const misplaced = ofRepository.filter((name) => name !== '$schema' && settings[name] !== undefined);
  if (misplaced.length > 0) {
    throw invalidRoot(
      `${root} has settings of its own for ${quoted(misplaced)}, which are about the whole repository`,
      'Move them into the sluice.json at the top of the repository.',
    );
  }
  const ignored = Object.keys(value).filter((name) => !ofRepository.includes(name));
  if (ignored.length > 0) {
    throw invalidRoot(
      `"root" says that the app is in ${root}, and ${quoted(ignored)} beside it would be ignored`,
      `Move them into ${root}/sluice.json.`,
    );
  }
  return root;
}

function quoted(names: string[]): string {
  return names.map((name) => `"${name}"`).join(', ');
}

function invalidRoot(message: string, hint: string): AppError {
  return new AppError('invalid_settings', message, { hint });
}
