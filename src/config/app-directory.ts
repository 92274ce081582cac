import { lstat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { isMissing } from '../system/fs/read-file.ts';
import { type AppSettings, appSettingsSchema, readLayers, topOf } from './app-settings.ts';
import { defaultEnvironment } from './paths.ts';
import { mergeLayers, type Origins, parseLayers, type SettingsLayer } from './settings-layers.ts';
import { parentsOf } from './workspaces.ts';

/** Settings of an app in its release. `directory` is set, and all paths are relative to the release. */
export type ReleaseSettings = AppSettings & { directory: string };

/** Command of a settings source that starts the app, unless the app's own settings have a `start`. */
export interface NamedStart {
  text: string;
  /** for messages, such as `start in ecosystem.config.js` */
  from: string;
  /** file that a command may name for this start, relative to the release */
  file?: string;
  /** true if such a command of the app exists: only that command leads to this start */
  isNamed?: boolean;
}

/** Settings of one source, with the command that starts the app. */
export interface StartLayer extends SettingsLayer, Pick<NamedStart, 'file' | 'isNamed'> {}

/** Facts beside the files of an app that its start depends on. */
export interface StartFacts {
  environment: string;
  /** the one with precedence first */
  starts: NamedStart[];
  /** true if the install or the build writes files in further packages of the release */
  buildsPackages?: boolean;
}

/** Settings of an app in its release, and where they come from. */
export interface OriginalSettings extends StartFacts {
  settings: ReleaseSettings;
  origins: Origins;
}

export interface SettingsChoice {
  /** environment whose settings count; production by default */
  environment?: string | undefined;
  /**
   * Returns further sources of settings, the one with precedence first. The app's own settings take precedence over all of them.
   * @param own the app's own settings. `directory` is set: '' for the release itself
   */
  layers?: ((own: ReleaseSettings) => Promise<StartLayer[]>) | undefined;
}

/**
 * Returns the settings of an app in its release: those of the workspace member that is the app, if there is one, else those at the
 * top, and of other sources. `directory` is '' for an app at the top.
 * @param member directory of that member, from the setting `root`
 * @throws AppError `invalid_settings`; errors of `layers`
 */
export async function releaseSettings(
  tree: string,
  member: string,
  { environment = defaultEnvironment, layers = async () => [] }: SettingsChoice = {},
): Promise<OriginalSettings> {
  const own = await readLayers(topOf(join(tree, member)), environment);
  const alone = parseLayers(appSettingsSchema, mergeLayers(own));
  const directory = await directoryOf(tree, member, alone);
  const others = await layers({ ...alone, directory });
  const starts = others.flatMap(startIn);
  const withoutStart = others.map(({ value: { start: _, ...value }, source }) => ({ value, source }));
  const merged = mergeLayers([...own, ...withoutStart]);
  const settings = parseLayers(appSettingsSchema, merged);
  const inRelease = (path: string) => posix.join(directory, path);
  const [shared, assets] = [settings.shared.map(inRelease), settings.assets.map(inRelease)];
  return {
    settings: { ...settings, directory, shared, assets },
    origins: merged.origins,
    starts,
    environment,
  };
}

function startIn({ value: { start: text }, source, file, isNamed }: StartLayer): NamedStart[] {
  if (typeof text !== 'string') return [];
  return [{ text, from: `start in ${source}`, ...(file && { file }), ...(isNamed && { isNamed }) }];
}

/** Returns the directory of the app in the release. @throws AppError `invalid_settings` */
async function directoryOf(tree: string, member: string, settings: AppSettings): Promise<string> {
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
  return directory;
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
