import { join } from 'node:path';
import type { ReleaseSettings } from '../../config/app-directory.ts';
import { readJsonSettings } from '../../config/settings-file.ts';
import { AppError } from '../../errors/app-error.ts';
import { type FoundCommand, followCommand, followScript } from '../start-command/follow.ts';
import { productionScripts } from '../start-command/order.ts';
import { NamesPm2File } from '../start-command/process-managers.ts';
import { firstFile } from '../start-command/program.ts';
import { type Project, readProcfile, readProject, readText } from '../start-command/project.ts';

/** Place of the settings for PM2 of an app. */
export type Pm2Source =
  | {
      /** relative to the release */
      file: string;
      /** working directory of PM2, relative to the release; '.' for the release itself */
      directory: string;
      /** options of a command that names the file */
      env?: string | undefined;
      only?: string[] | undefined;
      /** true if the first command that may start the app names the file */
      isNamed: boolean;
    }
  | {
      /** options in a command, by their names in a file of PM2 */
      options: Record<string, unknown>;
      /** source of the command, such as `"start" in package.json` */
      from: string;
    };

/** Files of PM2 that count without a command that names them, the first that exists. */
const conventionalNames = [
  ...['js', 'cjs', 'mjs', 'ts', 'json', 'yml', 'yaml'].map((ending) => `ecosystem.config.${ending}`),
  ...['js', 'json', 'yml', 'yaml'].map((ending) => `ecosystem.${ending}`),
  ...['config.js', 'json', 'yml', 'yaml'].map((ending) => `process.${ending}`),
  ...['config.js', 'json', 'yml', 'yaml'].map((ending) => `pm2.${ending}`),
];

/** Returns where an app has its settings for PM2; undefined if it has none. @throws AppError `invalid_settings` */
export async function findPm2(root: string, own: ReleaseSettings): Promise<Pm2Source | undefined> {
  const project = await readProject(root, own, false);
  const ofCommand = await commandOfPm2(project);
  if (ofCommand !== undefined && 'file' in ofCommand) return ofCommand;
  const name = (await conventional(project)) ?? (await inManifest(project));
  if (name === undefined) return ofCommand;
  return { file: join(project.app, name), directory: project.app, isNamed: false };
}

/** Option of an app in a file of PM2, without which a file with a general name is of another program. */
const hasScript = /\b(?:script|exec|cmd|command)['"]?\s*:/;

/** Returns the file of PM2 that counts without a command that names it. */
async function conventional({ root, app }: Project): Promise<string | undefined> {
  for (const name of conventionalNames) {
    if ((await firstFile(join(root, app), [name])) === undefined) continue;
    if (/\.config\./.test(name) || hasScript.test((await readText({ root }, join(app, name))) ?? ''))
      return name;
  }
  return undefined;
}

/** Follows the commands that start the app to one that runs PM2. */
async function commandOfPm2(project: Project): Promise<Pm2Source | undefined> {
  for (const [at, follow] of (await commandsOf(project)).entries()) {
    try {
      const { pm2: options = {}, from } = await follow();
      if (Object.keys(options).length > 0) return { options, from };
    } catch (error) {
      if (error instanceof NamesPm2File) {
        const { file, directory, env, only } = error;
        // After a "start" without PM2, a script such as "start:prod" only shows which file counts.
        return { file, directory, env, only, isNamed: at === 0 };
      }
      // The plan of the start reports a command that Sluice cannot follow.
      if (!(error instanceof AppError)) throw error;
    }
  }
  return undefined;
}

/** Returns the commands that may start an app with PM2, in the order in which they count. */
async function commandsOf(project: Project): Promise<(() => Promise<FoundCommand>)[]> {
  const { settings, manifest } = project;
  const text = (written: string | undefined, from: string) =>
    written?.includes('pm2') ? [() => followCommand(project, written, from)] : [];
  if (settings.start !== undefined) return text(settings.start, 'the setting "start"');
  const scripts = manifest?.scripts ?? {};
  const usesPm2 = Object.values(scripts).some((script) => script.includes('pm2'));
  const named = usesPm2 ? ['start', ...productionScripts].filter((name) => scripts[name] !== undefined) : [];
  return [
    ...text((await readProcfile(project))?.['web'], '"web" in Procfile'),
    ...named.map((name) => () => followScript(project, name)),
  ];
}

/** Returns package.json if it has settings for PM2. */
async function inManifest({ root, app }: Project): Promise<string | undefined> {
  const name = join(app, 'package.json');
  const manifest = (await readJsonSettings(join(root, name), name, root)) as
    | Record<string, unknown>
    | undefined;
  const isApp = (value: unknown) => typeof value === 'object' && value !== null && 'script' in value;
  const isOfPm2 = [manifest?.['apps'], manifest?.['pm2']].some((value) => [value].flat().some(isApp));
  return isOfPm2 ? 'package.json' : undefined;
}
