import { join } from 'node:path';
import { installScripts, type Manifest, readManifest } from '../config/package-manifest.ts';
import { AppError } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import { CommandRunner } from './command-runner.ts';
import type { BuildContext, CommandContext } from './context.ts';
import { reportsDamagedCache } from './failures.ts';
import type { Project } from './install/managers.ts';
import { skippedScripts } from './install/output.ts';
import { type PreparedManager, prepareManager } from './install/prepare.ts';
import { baseEnvironment, buildEnvironment } from './variables.ts';

export type { BuildContext, CommandContext } from './context.ts';

/**
 * Makes a tree ready to run: installs its dependencies, dev dependencies too, runs its build script, and removes
 * what only the build needed. A tree without package.json is ready as it is. Before and after the build come the app's
 * own hooks.
 * @throws AppError `install_failed`, `build_failed`, `build_timeout`, `build_out_of_memory`, `hook_failed`, `unsupported_package_manager`,
 *   `invalid_settings`; or the reason of `context.signal`, when that aborts
 */
export async function build(context: BuildContext): Promise<void> {
  const { preBuild, postBuild } = context.settings.hooks;
  if (preBuild !== undefined) await runHook(context, 'preBuild', preBuild);
  const prune = await installAndBuild(context);
  if (postBuild !== undefined) await runHook(context, 'postBuild', postBuild);
  await prune?.();
}

function runHook(context: BuildContext, name: 'preBuild' | 'postBuild', command: string): Promise<void> {
  const { directory, node, env, settings, isolated } = context;
  const bin = join(directory, 'node_modules/.bin');
  context.step(name);
  const environment = buildEnvironment({
    base: baseEnvironment(process.env, isolated),
    app: env,
    manager: {},
    bin,
    node,
  });
  return runShell(context, { command, directory, env: environment, timeout: settings.hooks.timeout });
}

/** @returns what removes that which only the build needed, where there is such */
async function installAndBuild(context: BuildContext): Promise<(() => Promise<void>) | undefined> {
  const { directory, settings } = context;
  const manifest = await readManifest(directory);
  if (manifest === undefined) return undefined;
  const script = buildScript(settings.build.command, manifest);
  const installs = hasSomethingToInstall(manifest);
  if (!installs && script === undefined) return undefined;

  context.step(installs ? 'install' : 'build');
  const runner = new CommandRunner(context, settings.build.timeout);
  const manager = await prepareManager(context, manifest, runner);
  if (installs) {
    const output = await runInstall(context, manager, manager.commands.install(manager.project));
    for (const notice of skippedScripts(output)) context.notice(notice);
  }
  if (script !== undefined) {
    if (installs) context.step('build');
    await manager.run('build', manager.commands.script(manager.project, script));
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
  { commands, run }: PreparedManager,
  args: string[],
): Promise<string[]> {
  try {
    return await run('install', args);
  } catch (error) {
    if (!isFailedInstall(error) || !reportsDamagedCache(error.message) || commands.clearCache === null)
      throw error;
    log(
      `The cache of ${commands.program} may be damaged. Sluice clears the cache and tries the install once more.`,
    );
    try {
      await run('install', commands.clearCache);
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
  const { commands, project } = manager;
  const command = commands.prune(project);
  if (command === null) return context.notice(notPruned(project));
  context.step('prune');
  await runInstall(context, manager, command);
}

function hasSomethingToInstall(manifest: Manifest): boolean {
  const { dependencies, optionalDependencies, devDependencies, peerDependencies } = manifest;
  return (
    Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies, ...peerDependencies })
      .length > 0 ||
    manifest.workspaces !== undefined ||
    // npm runs them whether or not there are dependencies.
    installScripts.some((name) => manifest.scripts[name] !== undefined)
  );
}

/** @throws AppError `invalid_settings` where the settings name a script that is not there */
function buildScript(setting: string | false | undefined, manifest: Manifest): string | undefined {
  if (setting === false) return undefined;
  const name = setting ?? 'build';
  if (manifest.scripts[name] !== undefined) return name;
  if (setting === undefined) return undefined;
  throw new AppError('invalid_settings', `build.command is "${name}", and package.json has no such script`, {
    hint: `Scripts there are: ${Object.keys(manifest.scripts).join(', ') || 'none'}. It is the name of a script, not a shell command.`,
  });
}

function notPruned({ version }: Project): Notice {
  return {
    code: 'not_pruned',
    message: `Dev dependencies stay in the release: yarn ${version} cannot remove them`,
    hint: 'yarn 4 can. They cost disk space, nothing else.',
  };
}

/**
 * Runs a shell command of the app's own, a hook of a deploy, to its end.
 * @throws AppError `hook_failed`; or the signal's reason
 */
export async function runShell(
  context: CommandContext,
  {
    command,
    directory,
    env,
    timeout,
  }: { command: string; directory: string; env: Record<string, string>; timeout: number },
): Promise<void> {
  const job = { argv: ['/bin/sh', '-c', command] as [string, ...string[]], directory, env };
  await new CommandRunner(context, timeout).run('hook', job, command);
}
