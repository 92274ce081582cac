import { join, normalize, sep } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { installScripts, type Manifest, readManifest } from '../../config/package-manifest.ts';
import { readJsonSettings } from '../../config/settings-file.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { type FoundCommand, findProgram, programMissing } from './program.ts';
import { backgroundCommands, findFile, findStart, resolveBackground, resolveStart } from './start-plan.ts';

/**
 * Checks the start and the background processes of an app before its install and build. A file that the install or the build
 * may write need not exist yet.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function checkStart(directory: string, settings: AppSettings): Promise<void> {
  const manifest = await readManifest(directory);
  if (manifest === undefined) {
    await resolveStart(directory, settings);
    await resolveBackground(directory, settings);
    return;
  }
  const start = findStart(settings, manifest);
  const mayBuild = hasBuild(settings, manifest);
  if (start !== undefined) await checkCommand(directory, manifest, start, mayBuild);
  else if (!mayBuild) await findFile(directory, manifest);
  for (const { found } of backgroundCommands(settings, manifest)) {
    await checkCommand(directory, manifest, found, mayBuild);
  }
}

async function checkCommand(
  directory: string,
  manifest: Manifest,
  found: FoundCommand,
  mayBuild: boolean,
): Promise<void> {
  const { kind, name } = found.command.program;
  if (kind === 'bin') {
    if (await isPruned(directory, manifest, name)) throw programMissing(found, name);
  } else if (!mayBuild && !normalize(name).split(sep).includes('node_modules')) {
    await findProgram(directory, manifest, found);
  }
}

/** Returns true if scripts of the install or the build may write files of the app. */
function hasBuild(settings: AppSettings, manifest: Manifest): boolean {
  const script = settings.build.command ?? 'build';
  const scripts = [...installScripts, ...(script === false ? [] : [script])];
  return manifest.workspaces !== undefined || scripts.some((name) => manifest.scripts[name] !== undefined);
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
