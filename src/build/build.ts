import { join } from 'node:path';
import { installScripts, type Manifest, readManifest } from '../config/package-manifest.ts';
import { AppError } from '../errors/app-error.ts';
import { CommandRunner } from './command-runner.ts';
import type { BuildContext, CommandContext } from './context.ts';
import { skippedScripts } from './install/install-output.ts';
import { type PreparedManager, prepareManager } from './install/prepare.ts';
import { reportsDamagedCache } from './known-failures.ts';
import { baseEnvironment, buildEnvironment } from './variables.ts';

export type { BuildContext, CommandContext } from './context.ts';

/**
 * Prepares a tree to run: installs its dependencies, including dev dependencies, runs its build script, and removes the
 * dev dependencies. Runs the build hooks of the app before and after. Does nothing else for a tree without package.json.
 * @throws AppError `install_failed`, `build_failed`, `build_timeout`, `build_out_of_memory`, `hook_failed`, `unsupported_package_manager`,
 *   `invalid_settings`; or the reason of `context.signal` on abort
 */
export async function build(context: BuildContext): Promise<void> {
  await runHook(context, 'preBuild');
  const prune = await installAndBuild(context);
  await runHook(context, 'postBuild');
  await prune?.();
}

async function runHook(context: BuildContext, name: 'preBuild' | 'postBuild'): Promise<void> {
  const { directory, node, isolated } = context;
  const { [name]: command, timeout } = context.settings.hooks;
  if (command === undefined) return;
  context.step(name);
  const env = buildEnvironment({
    base: baseEnvironment(process.env, isolated),
    app: context.env,
    manager: {},
    bin: join(directory, 'node_modules/.bin'),
    node,
  });
  await runShell(context, { command, directory, env, timeout });
}

/**
 * Runs a shell command of the app, such as a hook of a deploy.
 * @throws AppError `hook_failed`; or the reason of the signal
 */
export async function runShell(
  context: CommandContext,
  job: { command: string; directory: string; env: Record<string, string>; timeout: number },
): Promise<void> {
  const { command, directory, env, timeout } = job;
  const runner = new CommandRunner(context, timeout);
  await runner.run('hook', { argv: ['/bin/sh', '-c', command], directory, env }, command);
}

/** Returns the function that removes dev dependencies; undefined if there are none. */
async function installAndBuild(context: BuildContext): Promise<(() => Promise<void>) | undefined> {
  const { directory, settings } = context;
  const manifest = await readManifest(directory);
  if (manifest === undefined) return undefined;
  const script = buildScript(settings.build.command, manifest);
  const installs = needsInstall(manifest);
  if (!installs && script === undefined) return undefined;

  context.step(installs ? 'install' : 'build');
  const manager = await prepareManager(context, manifest, new CommandRunner(context, settings.build.timeout));
  if (installs) {
    const output = await runInstall(context, manager, manager.install);
    for (const notice of skippedScripts(output)) context.notice(notice);
  }
  if (script !== undefined) {
    if (installs) context.step('build');
    await manager.run('build', [...manager.script, script]);
  }
  if (!installs || Object.keys(manifest.devDependencies).length === 0) return undefined;
  return () => prune(context, manager);
}

/**
 * Runs an install. A damaged cache would fail every install: if the output reports a damaged cache, clears the cache and
 * tries once more. Yarn 2 and later report a damaged cache and a wrong checksum in the lockfile in the same words.
 */
async function runInstall(
  { log }: BuildContext,
  { program, clearCache, run }: PreparedManager,
  args: string[],
): Promise<string[]> {
  try {
    return await run('install', args);
  } catch (error) {
    if (!isFailedInstall(error) || !reportsDamagedCache(error.message) || clearCache === null) throw error;
    log(`The cache of ${program} may be damaged. Sluice clears the cache and tries the install once more.`);
    try {
      await run('install', clearCache);
    } catch (refusal) {
      if (!isFailedInstall(refusal)) throw refusal;
      log(`The cache was not cleared: ${refusal.message}`);
      throw error;
    }
    return run('install', args);
  }
}

function isFailedInstall(error: unknown): error is AppError {
  return error instanceof AppError && error.code === 'install_failed';
}

async function prune(context: BuildContext, manager: PreparedManager): Promise<void> {
  if (manager.prune === null) {
    return context.notice({
      code: 'not_pruned',
      message: `Dev dependencies stay in the release: yarn ${manager.version} cannot remove them`,
      hint: 'They take disk space. Use yarn 4 to remove them.',
    });
  }
  context.step('prune');
  await runInstall(context, manager, manager.prune);
}

function needsInstall(manifest: Manifest): boolean {
  const { dependencies, optionalDependencies, devDependencies, peerDependencies } = manifest;
  const all = { ...dependencies, ...optionalDependencies, ...devDependencies, ...peerDependencies };
  return (
    Object.keys(all).length > 0 ||
    manifest.workspaces !== undefined ||
    // npm runs install scripts even without dependencies.
    installScripts.some((name) => manifest.scripts[name] !== undefined)
  );
}

/** @throws AppError `invalid_settings` if the settings name a script that does not exist */
function buildScript(setting: string | false | undefined, { scripts }: Manifest): string | undefined {
  if (setting === false) return undefined;
  const name = setting ?? 'build';
  if (scripts[name] !== undefined) return name;
  if (setting === undefined) return undefined;
  throw new AppError('invalid_settings', `build.command is "${name}", but package.json has no such script`, {
    hint: `Set the name of a script, not a shell command. Scripts of package.json: ${Object.keys(scripts).join(', ') || 'none'}.`,
  });
}
