import { isDeepStrictEqual } from 'node:util';
import type { SettingsLayer } from '../config/settings-layers.ts';
import type { Notice } from '../protocol/runner.ts';
import { processNames } from './process-names.ts';
import { procfileName, readProcfile } from './start-command/project.ts';

/** Settings of a Procfile, with notices about them. */
export interface ProcfileSettings {
  layers: SettingsLayer[];
  notices: Notice[];
}

/**
 * Returns the settings in the Procfile of an app: `release` is the hook `preSwitch`, and all processes but `web` run in the
 * background.
 * @param app directory of the app, relative to the release
 */
export async function procfileSettings(root: string, app: string): Promise<ProcfileSettings> {
  const { web: _, release, ...others } = (await readProcfile({ root, app: app || '.' })) ?? {};
  const written = Object.keys(others);
  const names = processNames(written);
  const processes = Object.fromEntries(Object.values(others).map((command, at) => [names[at], command]));
  const value = { ...(release !== undefined && { hooks: { preSwitch: release } }), processes };
  return { layers: [{ source: procfileName, value }], notices: renamedNotices(written, names) };
}

function renamedNotices(written: string[], names: string[]): Notice[] {
  if (isDeepStrictEqual(written, names)) return [];
  const renamed = written
    .map((name, at) => [name, names[at]] as const)
    .filter(([before, name]) => before !== name)
    .map(([before, name]) => `"${before}" as ${name}`);
  return [
    {
      code: 'process_renamed',
      message: `Sluice runs processes of the Procfile under other names: ${renamed.join(', ')}`,
      hint: 'Names of background processes have small letters, digits and "-", and are not "web" or "cron".',
    },
  ];
}
