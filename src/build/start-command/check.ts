import { join, normalize, sep } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { installScripts, type Manifest, readManifest } from '../../config/package-manifest.ts';
import { readJsonSettings } from '../../config/settings-file.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import type { StaticSite } from '../static-site/find.ts';
import { programMissing, resolveProgram } from './program.ts';
import { backgroundCommands, findFile, findStart } from './start-plan.ts';

/**
 * Checks the start and the background processes of an app before its install and build. A file that the install or the build
 * may write need not exist yet.
 * @param site static site, which the app serves in place of a start command
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function checkStart(directory: string, settings: AppSettings, site?: StaticSite): Promise<void> {
  const manifest = await readManifest(directory);
  const mayBuild = manifest !== undefined && hasBuild(settings, manifest);
  const start = site === undefined ? findStart(settings, manifest) : undefined;
  if (start === undefined && site === undefined && !mayBuild) await findFile(directory, manifest);
  const background = backgroundCommands(settings, manifest).map(({ command }) => command);
  for (const command of start === undefined ? background : [start, ...background]) {
    const { kind, name } = command.program;
    if (kind === 'bin' && manifest !== undefined) {
      if (await isPruned(directory, manifest, name)) throw programMissing(command);
    } else if (!mayBuild && !normalize(name).split(sep).includes('node_modules')) {
      await resolveProgram(directory, manifest, command);
    }
  }
}

/** Returns true if scripts of the install or the build may write files of the app. */
export function hasBuild({ build }: AppSettings, { scripts, workspaces }: Manifest): boolean {
  const script = build.command ?? 'build';
  const names = script === false ? installScripts : [...installScripts, script];
  return workspaces !== undefined || names.some((name) => scripts[name] !== undefined);
}

/**
 * Returns true if only dev dependencies have a program, so that the program is removed before the app runs. Returns false if
 * only the install can show that.
 */
async function isPruned(directory: string, manifest: Manifest, program: string): Promise<boolean> {
  const { packages } = (await readLock(directory)) ?? {};
  if (packages) {
    const owners = Object.values(packages).filter((entry) => entry?.bin?.[program] !== undefined);
    return owners.length > 0 && owners.every((entry) => entry?.dev === true);
  }
  const { dependencies, optionalDependencies, peerDependencies, devDependencies, workspaces } = manifest;
  const retained = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
  if (retained.length > 0 || workspaces !== undefined || !Object.hasOwn(devDependencies, program))
    return false;
  // Some versions of yarn cannot remove dev dependencies.
  return !manifest.packageManager?.startsWith('yarn') && !(await exists(join(directory, 'yarn.lock')));
}

/** The parts of package-lock.json that Sluice reads. npm sets `dev` on packages that only dev dependencies need. */
interface Lock {
  packages?: Record<string, { dev?: boolean; bin?: Record<string, string> } | undefined> | null;
}

/** Returns package-lock.json; undefined if it is missing or damaged. The install reports a damaged lockfile. */
async function readLock(directory: string): Promise<Lock | undefined> {
  const name = 'package-lock.json';
  return readJsonSettings(join(directory, name), name, directory).catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
  }) as Promise<Lock | undefined>;
}
