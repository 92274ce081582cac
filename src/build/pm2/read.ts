import { stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { ReleaseSettings, StartLayer } from '../../config/app-directory.ts';
import { defaultEnvironment } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import { isMissing } from '../../system/fs/read-file.ts';
import { type FoundCommand, followCommand } from '../start-command/follow.ts';
import { listens } from '../start-command/listens.ts';
import { resolveFile } from '../start-command/program.ts';
import { type Project, readProject, readText, relativeTo } from '../start-command/project.ts';
import { importedSources } from '../start-command/sources.ts';
import { evaluate, type RunEvaluation } from './evaluation.ts';
import { findPm2, type Pm2Source } from './files.ts';
import type { Release } from './places.ts';
import { hasApps, pm2Settings, settingsOfOptions } from './settings.ts';

/** Facts beside the files of the app that its settings for PM2 depend on. */
export interface Pm2Circumstances {
  environment?: string | undefined;
  /** runs the evaluation of a file; undefined where no app has a file of PM2 */
  evaluate?: RunEvaluation | undefined;
  /** variables of the app, which its file gets */
  variables?: Record<string, string> | undefined;
  /** port that Sluice has assigned to the app: an import from PM2 keeps the port of PM2 */
  assignedPort?: number | undefined;
  /** directory of the release when it runs, if that is not the present one; absolute */
  runsIn?: string | undefined;
  /** true if the packages of the app are installed */
  isInstalled?: boolean | undefined;
  cores: number;
}

/** Settings for PM2 of an app. */
export interface Pm2Reading {
  layers: StartLayer[];
  notices: Notice[];
  /** directories of the apps in a file, relative to the release */
  directories: string[];
  /** package that the file loads and that is not installed yet: only the install can show the settings */
  missing?: { file: string; module: string; error: AppError };
}

/** Settings for PM2 of an app that has none. */
export const noPm2: Pm2Reading = { layers: [], notices: [], directories: [] };

/**
 * Reads the settings of an app for PM2.
 * @param own the app's own settings
 * @throws AppError `invalid_pm2_file`, `invalid_settings`
 */
export async function readPm2(
  root: string,
  own: ReleaseSettings,
  circumstances: Pm2Circumstances,
): Promise<Pm2Reading> {
  const source = await findPm2(root, own);
  if (source === undefined) return noPm2;
  if ('options' in source) {
    const value = settingsOfOptions(source.options);
    return { ...noPm2, layers: [{ source: source.from, value }] };
  }
  try {
    return await readFile(root, own, source, circumstances);
  } catch (error) {
    // An app with its own start also deploys with a file that it no longer needs.
    if (
      !(error instanceof AppError && error.code === 'invalid_pm2_file') ||
      own.start === undefined ||
      source.isNamed
    )
      throw error;
    const message = `Sluice does not use ${source.file}: ${error.message}`;
    return { ...noPm2, notices: [{ code: 'file_not_read', message, hint: error.hint ?? '' }] };
  }
}

async function readFile(
  root: string,
  own: ReleaseSettings,
  { file, directory, env, only, isNamed }: Extract<Pm2Source, { file: string }>,
  circumstances: Pm2Circumstances,
): Promise<Pm2Reading> {
  const { environment = defaultEnvironment, isInstalled = false } = circumstances;
  const { evaluate: run, variables, assignedPort, runsIn = root, cores } = circumstances;
  if (run === undefined) throw new Error(`${file} cannot be evaluated here`);
  if ((await kindIn(root, file)) !== 'file') return noPm2;
  const name = posix.relative(directory, file);
  const evaluated = { file: name, directory: relativeTo(directory), env: env ?? environment };
  const result = await evaluate(evaluated, run);
  if ('missing' in result) {
    if (isInstalled || /^[./]/.test(result.missing)) throw result.error;
    return { ...noPm2, missing: { file: name, module: result.missing, error: result.error } };
  }
  if (!isNamed && !hasApps(result.value)) {
    const hint = 'Sluice reads apps with a "script", as PM2 does.';
    return { ...noPm2, notices: [{ code: 'file_not_read', message: `${name} has no apps for PM2`, hint }] };
  }
  const project = await readProject(root, own, isInstalled);
  const release = releaseOf(project, { directory, runsIn, cores });
  const { value, notices, directories } = await pm2Settings(
    result.value,
    { file: name, environment, env, only, variables, assignedPort },
    release,
  );
  const source = name === 'package.json' ? '"pm2" in package.json' : name;
  const layers = [{ source, value, file, isNamed }];
  return { layers, notices, directories: directories.map((at) => join(project.app, at)) };
}

function releaseOf(
  project: Project,
  { directory, runsIn, cores }: { directory: string; runsIn: string; cores: number },
): Release {
  const { root, app, mayBuild } = project;
  return {
    ...{ app, mayBuild, cores },
    base: posix.relative(app, directory) || '.',
    evaluatedIn: join(root, app),
    runsIn: join(runsIn, app),
    kindOf: (path) => kindIn(root, join(app, path)),
    async listens(command) {
      const file = await fileOf(project, command);
      return file === undefined ? undefined : listens(project, file);
    },
    hasFixedPort: (command, port) => hasFixedPort(project, command, port),
  };
}

/**
 * Returns true if the program of a command does not read PORT, and has this port in its code.
 * @param isInVariable true if a variable has the port, instead of the code
 */
export async function hasFixedPort(
  project: Project,
  command: string,
  port: number,
  isInVariable = false,
): Promise<boolean> {
  const file = await fileOf(project, command);
  if (file === undefined) return false;
  const texts = [(await readText(project, file)) ?? ''];
  for (const { text } of importedSources(project.root, [[file]])) texts.push(text);
  if (texts.some((text) => /\bPORT\b/.test(text))) return false;
  return isInVariable || texts.some((text) => text.includes(String(port)));
}

/** Returns the file that a command runs, relative to the release; undefined if there is none. */
async function fileOf(project: Project, command: string): Promise<string | undefined> {
  const found = await followCommand(project, command, 'PM2').catch(unlessRejected);
  return found && fileIn(project, found);
}

function unlessRejected(error: unknown): undefined {
  if (!(error instanceof AppError)) throw error;
}

/** Returns the file that a command runs, relative to the release; undefined if it is not there yet. */
async function fileIn({ root }: Project, { target, directory }: FoundCommand): Promise<string | undefined> {
  if (target.kind !== 'file' && target.kind !== 'executable') return undefined;
  return await resolveFile(root, join(directory, target.name));
}

async function kindIn(root: string, path: string): Promise<'file' | 'directory' | undefined> {
  try {
    const stats = await stat(join(root, path));
    if (stats.isFile()) return 'file';
    return stats.isDirectory() ? 'directory' : undefined;
  } catch (error) {
    if (!isMissing(error)) throw error;
    return undefined;
  }
}
