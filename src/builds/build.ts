import { type Manifest, readManifest } from '../config/package-manifest.ts';
import { AppError } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import { CommandRunner } from './command-runner.ts';
import type { BuildContext } from './context.ts';
import type { Project } from './managers/commands.ts';
import { prepareManager } from './prepare.ts';
import { skippedScripts } from './skipped-scripts.ts';

export type { BuildContext, BuildStep } from './context.ts';

/**
 * Makes a tree ready to run: installs its dependencies, dev dependencies too, runs its build script, and removes
 * what only the build needed. A tree without package.json is ready as it is.
 * @throws AppError `install_failed`, `build_failed`, `build_timeout`, `unsupported_package_manager`,
 *   `invalid_settings`; or the reason of `context.signal`, when that aborts
 */
export async function build(context: BuildContext): Promise<void> {
  const { directory, settings } = context;
  const manifest = await readManifest(directory);
  if (manifest === undefined) return;
  const script = buildScript(settings.build.command, manifest);
  const installs = hasSomethingToInstall(manifest);
  if (!installs && script === undefined) return;

  context.step(installs ? 'install' : 'build');
  const runner = new CommandRunner(context);
  const manager = await prepareManager(context, manifest, runner);
  if (installs) {
    const output = await manager.run('install', manager.commands.install(manager.project));
    for (const notice of skippedScripts(output)) context.notice(notice);
  }
  if (script !== undefined) {
    if (installs) context.step('build');
    await manager.run('build', manager.commands.script(manager.project, script));
  }
  if (installs && Object.keys(manifest.devDependencies).length > 0) {
    const prune = manager.commands.prune(manager.project);
    if (prune === null) context.notice(notPruned(manager.project));
    else {
      context.step('prune');
      await manager.run('install', prune);
    }
  }
}

/** npm runs these on an install, whether or not there are dependencies. */
const installHooks = ['preinstall', 'install', 'postinstall', 'prepare'];

function hasSomethingToInstall(manifest: Manifest): boolean {
  const { dependencies, optionalDependencies, devDependencies, peerDependencies } = manifest;
  return (
    Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies, ...peerDependencies })
      .length > 0 ||
    manifest.workspaces !== undefined ||
    installHooks.some((hook) => manifest.scripts[hook] !== undefined)
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
