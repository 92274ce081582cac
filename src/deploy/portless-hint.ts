import { relative } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import type { ReleaseRecord, RunPlan } from '../releases/release.ts';
import { commandOf } from '../releases/words.ts';

/** Returns an error of a boot. If the app did not listen, its hint also has the settings for an app without a port. */
export function withPortlessHint(error: unknown, { run }: Pick<ReleaseRecord, 'run'>): unknown {
  if (!(error instanceof AppError && error.code === 'boot_timeout') || run === null) return error;
  const { waitReady, processes } = run.settings;
  if (waitReady || run.static !== undefined || run.workers === 0) return error;
  const others = Object.entries(processes).map(([name, { command }]) => [name, command]);
  const settings = { workers: 0, processes: { main: startOf(run), ...Object.fromEntries(others) } };
  const hint = `${error.hint} If the app is a bot or a consumer of a queue and needs no port, write in sluice.json: ${JSON.stringify(settings)}`;
  return new AppError(error.code, error.message, { hint, cause: error.cause });
}

/** Returns the command that starts an app, in its directory. */
function startOf({ exec, nodeArgs, script, args, settings }: RunPlan): string {
  if (exec !== undefined) return exec.command;
  return commandOf(['node', ...nodeArgs, relative(settings.directory ?? '', script), ...args]);
}
