import { join, normalize, sep } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { installScripts, type Manifest, readManifest } from '../../config/package-manifest.ts';
import { readJsonSettings } from '../../config/settings-file.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { findProgram, withoutProgram } from './program.ts';
import {
  backgroundCommands,
  type FoundCommand,
  findFile,
  findStart,
  resolveBackground,
  resolveStart,
} from './start-plan.ts';

/**
 * Whether there is anything to run at all, and all that runs beside it, as far as that can be told before the install
 * and the build: a file of `dist/` or a package's program may not be there yet. Where nothing is built, a file that is
 * missing stays so.
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
  const built = mayBeBuilt(settings, manifest);
  if (start !== undefined) await checkCommand(directory, manifest, start, built);
  else if (!built) await findFile(directory, manifest);
  for (const { found } of backgroundCommands(settings, manifest)) {
    await checkCommand(directory, manifest, found, built);
  }
}

async function checkCommand(
  directory: string,
  manifest: Manifest,
  found: FoundCommand,
  built: boolean,
): Promise<void> {
  const { kind, name } = found.command.program;
  if (kind === 'bin') {
    if (await isGoneWhenItRuns(directory, manifest, name)) throw withoutProgram(found, name);
  } else if (!built && !mayBeInstalled(name)) await findProgram(directory, manifest, found);
}

function mayBeBuilt(settings: AppSettings, manifest: Manifest): boolean {
  const script = settings.build.command ?? 'build';
  // Those of the install, too, may make what is started.
  const scripts = [...installScripts, ...(script === false ? [] : [script])];
  return manifest.workspaces !== undefined || scripts.some((name) => manifest.scripts[name] !== undefined);
}

/** What an install puts there. */
function mayBeInstalled(file: string): boolean {
  return normalize(file).split(sep).includes('node_modules');
}

/**
 * Whether a program is certain to be gone when the app runs: only dev dependencies bring it. False where that cannot be
 * told before the install.
 */
export async function isGoneWhenItRuns(
  directory: string,
  manifest: Manifest,
  program: string,
): Promise<boolean> {
  const { packages } = (await readLock(directory)) ?? {};
  if (packages) {
    const bringing = Object.values(packages).filter((entry) => entry?.bin?.[program] !== undefined);
    return bringing.length > 0 && bringing.every((entry) => entry?.dev === true);
  }
  const { dependencies, optionalDependencies, peerDependencies, devDependencies, workspaces } = manifest;
  const kept = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
  if (kept.length > 0 || workspaces !== undefined || !Object.hasOwn(devDependencies, program)) return false;
  // Of yarn, not every version can remove dev dependencies.
  return !manifest.packageManager?.startsWith('yarn') && !(await exists(join(directory, 'yarn.lock')));
}

/** As far as we read it: `dev` is npm's mark on what only dev dependencies need. */
interface Lock {
  packages?: Record<string, { dev?: boolean; bin?: Record<string, string> } | undefined> | null;
}

/** What is wrong with a lockfile that we cannot read is for the install to say. */
async function readLock(directory: string): Promise<Lock | undefined> {
  try {
    return (await readJsonSettings(
      join(directory, 'package-lock.json'),
      'package-lock.json',
      directory,
    )) as Lock;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}
