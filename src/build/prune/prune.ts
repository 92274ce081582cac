import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import { usualPath } from '../../system/process/run.ts';
import type { CommandRunner } from '../command-runner.ts';
import type { BuildContext } from '../context.ts';
import type { PruneRequest } from './dev-packages.ts';
import { neededAtRunTime } from './needed-at-run-time.ts';
import { argumentsOf, keptPattern } from './remove.ts';

const nothing = { keep: [], candidates: [], background: [] };

const program = fileURLToPath(new URL('remove.ts', import.meta.url));

/**
 * Removes the packages that only dev dependencies need, as the user of the app. A failure is a notice: the release runs with
 * more packages, too.
 * @returns the notices
 * @param at directory of the install, relative to the tree
 * @param members directories of the members of a workspace, relative to `at`; null without a workspace
 * @throws AppError `build_timeout`; or the reason of the signal
 */
export async function prune(
  context: BuildContext,
  { at, members }: { at: string; members: string[] | null },
  runner: CommandRunner,
): Promise<Notice[]> {
  context.step('prune');
  const { directory } = context;
  const needed = await neededAfterBuild(context, { at, members });
  const request: PruneRequest = { root: join(directory, at), members, ...needed };
  // The Node.js of Sluice runs the program, which an older one of the app could not.
  const argv: [string, ...string[]] = [process.execPath, program, ...argumentsOf(request)];
  const env = { PATH: usualPath, NODE_DISABLE_COMPILE_CACHE: '1' };
  try {
    const output = await runner.run('install', { argv, directory, env }, 'prune');
    const kept = output.flatMap((line) => keptPattern.exec(line)?.[1] ?? []);
    if (kept.length === 0) return [];
    context.notice(keptNotice(kept));
    return [keptNotice(kept)];
  } catch (error) {
    context.signal.throwIfAborted();
    if (!(error instanceof AppError && error.code === 'install_failed')) throw error;
    const notice = {
      code: 'not_pruned',
      message: `dev dependencies stay in the release, because they could not be removed: ${error.message}`,
      hint: 'They take disk space. The build log has the whole output.',
    };
    context.notice(notice);
    return [notice];
  }
}

/** Returns what stays of the dev dependencies: see `neededAtRunTime`. */
export function neededAfterBuild(
  { directory, settings, app = settings.directory ?? '', start }: BuildContext,
  { at, members }: { at: string; members: string[] | null },
) {
  const places = [at, app, ...(members ?? []).map((member) => join(at, member))];
  return neededAtRunTime(directory, places, settings, start ?? nothing);
}

function keptNotice(kept: string[]) {
  return {
    code: 'dev_dependency_kept',
    message: `these packages stay in the release, although they are only in devDependencies: ${kept.join(', ')}`,
    hint: 'A command that runs after the build needs them. Move them to dependencies.',
  };
}
