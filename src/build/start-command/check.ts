import { normalize, sep } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { installScripts, type Manifest, readManifest } from '../../config/package-manifest.ts';
import { backgroundCommands, resolveBackground } from './background.ts';
import { isGoneWhenItRuns } from './dev-programs.ts';
import type { FoundCommand } from './follow.ts';
import { findProgram, withoutProgram } from './program.ts';
import { findFile, findStart, resolveStart } from './resolve.ts';

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
