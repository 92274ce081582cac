import type { AppSettings } from '../../config/app-settings.ts';
import { type Manifest, readManifest } from '../../config/package-manifest.ts';
import type { Notice } from '../../protocol/runner.ts';
import type { BackgroundPlan } from '../../releases/release.ts';
import { type FoundCommand, follow } from './follow.ts';
import { resolveProgram } from './program.ts';

/**
 * How to start the background processes of the app in `directory`, which is installed and built.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function resolveBackground(
  directory: string,
  settings: AppSettings,
): Promise<{ background: BackgroundPlan[]; notices: Notice[] }> {
  const manifest = await readManifest(directory);
  const background: BackgroundPlan[] = [];
  const notices: Notice[] = [];
  for (const { name, count, overlap, found } of backgroundCommands(settings, manifest)) {
    const script = await resolveProgram(directory, manifest, found);
    const { args, nodeArgs, env } = found.command;
    background.push({ name, count, overlap, script, args, nodeArgs, env });
    notices.push(...found.notices);
  }
  return { background, notices };
}

/** What is to run in the background, as far as that is told by names alone. @throws AppError `unsupported_start` */
export function backgroundCommands(
  { processes }: AppSettings,
  manifest: Manifest | undefined,
): { name: string; count: number; overlap: boolean; found: FoundCommand }[] {
  return Object.entries(processes).map(([name, { command, count, overlap }]) => {
    const place = `processes.${name} in sluice.json`;
    const scriptPlace = (script: string) => `${place} (the script "${script}" of package.json)`;
    return { name, count, overlap, found: follow(command, place, manifest, [], scriptPlace) };
  });
}
