import { join } from 'node:path';
import { programDirectories } from '../config/app-directory.ts';
import { installScripts } from '../config/package-manifest.ts';
import { AppError } from '../errors/app-error.ts';
import type { JobSpec } from '../protocol/runner.ts';
import { type BuildPlan, describeInstall, planBuild } from './build-plan.ts';
import { CommandRunner } from './command-runner.ts';
import type { BuildContext, CommandContext } from './context.ts';
import { reportsDamagedCache } from './failures/damaged-cache.ts';
import { type PreparedManager, prepareManager } from './install/prepare.ts';
import { neededAfterBuild, prune } from './prune/prune.ts';
import { hideRepositoryAbove } from './repository-above.ts';
import { takeCaches } from './reuse/build-caches.ts';
import { type InstalledPackages, installPackages, removeUnusedPackages } from './reuse/packages.ts';
import { removeTokens } from './tokens-in-files.ts';
import { baseEnvironment, buildEnvironment } from './variables.ts';

/** Package manager that built a release, for the commands that run later in the release. */
export interface Built {
  /** directories of its programs, relative to the directory of all package managers */
  path: string[];
  /** variables that it requires */
  managerEnv: Record<string, string>;
}

export type { BuildContext, CommandContext } from './context.ts';

/**
 * Prepares a tree to run: installs its dependencies, including dev dependencies, runs its build script, and removes the
 * dev dependencies. Runs the build hooks of the app before and after. Does nothing else for a tree without package.json.
 * @throws AppError `install_failed`, `build_failed`, `build_timeout`, `build_out_of_memory`, `hook_failed`, `unsupported_package_manager`,
 *   `invalid_settings`; or the reason of `context.signal` on abort
 */
export async function build(context: BuildContext): Promise<Built> {
  await using _ = await hideRepositoryAbove(context.directory, context.isolated);
  await runHook(context, 'preBuild', undefined);
  const plan = await planBuild(context.directory, context.settings, context.app);
  const installed = await install(context, plan, await pruneAlone(context, plan));
  const planned = { ...context, ...(await context.planAgain?.()) };
  const packages: Installed[] = [];
  for (const plan of planned.packages ?? []) packages.push(await install(context, plan, undefined));
  await removeUnusedPackages(
    context,
    [installed, ...packages].flatMap((each) => each?.plan.at ?? []),
  );
  const manager = installed?.manager ?? packages[0]?.manager;
  // A plan after the install may have the scripts of another member.
  const { directory, settings, app } = planned;
  const again = context.planAgain && (await planBuild(directory, settings, app));
  const main = installed ?? packages[0];
  const plans = [...(installed ? [{ ...installed, ...(again && { plan: again }) }] : []), ...packages];
  const isBuilt = plans.some(({ plan: { scripts } }) => scripts.length > 0) || commandsOf(planned).length > 0;
  const facts = main?.packages.facts;
  const keepCaches = isBuilt && main && facts ? await takeCaches(planned, main.plan, facts) : undefined;
  for (const each of plans) await runScripts(planned, each);
  await runCommands(planned, manager);
  await runHook(planned, 'postBuild', manager);
  await keepCaches?.();
  if (installed !== undefined) await removeDev(planned, installed);
  await removeTokens(planned);
  return { path: manager?.path ?? [], managerEnv: manager?.env ?? {} };
}

async function runHook(
  context: BuildContext,
  name: 'preBuild' | 'postBuild',
  manager: PreparedManager | undefined,
): Promise<void> {
  const { [name]: command, timeout } = context.settings.hooks;
  if (command === undefined) return;
  context.step(name);
  await runShell(context, { ...shellJob(context, manager), command, timeout });
}

/** Runs the commands of the start that belong to the build. */
async function runCommands(context: BuildContext, manager: PreparedManager | undefined): Promise<void> {
  const { settings } = context;
  const commands = commandsOf(context);
  if (commands.length > 0) context.step('build');
  const runner = new CommandRunner(context, settings.build.timeout);
  for (const command of commands) {
    await runner.run('build', { ...shellJob(context, manager), argv: ['/bin/sh', '-c', command] }, command);
  }
}

function commandsOf({ start }: BuildContext): string[] {
  return start?.builds ?? [];
}

/** Returns where and with which variables a shell command of the build runs. */
function shellJob(
  { directory, tools, node, isolated, about, settings, env: app }: BuildContext,
  manager: PreparedManager | undefined,
) {
  const programs = (manager?.path ?? []).map((path) => join(tools, path));
  const env = buildEnvironment({
    base: baseEnvironment(process.env, isolated),
    manager: { ...manager?.env, ...manager?.installEnv },
    path: [...programDirectories(directory, settings.directory), ...programs],
    ci: settings.build.ci,
    ...{ app, about, node, directory },
  });
  return { directory, workingDirectory: settings.directory ?? '', env };
}

/**
 * Runs a shell command of the app, such as a hook of a deploy.
 * @throws AppError `hook_failed`; or the reason of the signal
 */
export async function runShell(
  context: CommandContext,
  {
    command,
    timeout,
    ...job
  }: Pick<JobSpec, 'directory' | 'workingDirectory' | 'env' | 'timeout'> & { command: string },
): Promise<void> {
  const runner = new CommandRunner(context, timeout);
  await runner.run('hook', { ...job, argv: ['/bin/sh', '-c', command] }, command);
}

/** Package manager and work of a tree that is installed. */
interface Installed {
  plan: BuildPlan;
  manager: PreparedManager;
  runner: CommandRunner;
  packages: InstalledPackages;
}

/**
 * Installs a package, if it has dependencies. Without a plan, there is nothing to install and to build.
 * @param prune see `pruneAlone`
 */
async function install<Plan extends BuildPlan | undefined>(
  context: BuildContext,
  plan: Plan,
  prune: string | undefined,
): Promise<Plan extends undefined ? undefined : Installed>;
async function install(
  context: BuildContext,
  plan: BuildPlan | undefined,
  prune: string | undefined,
): Promise<Installed | undefined> {
  if (plan === undefined) return undefined;
  const { installs } = plan;
  context.step(installs ? 'install' : 'build');
  context.log(await describeInstall(plan, context.nodeVersion));
  const runner = new CommandRunner(context, context.settings.build.timeout);
  const manager = await prepareManager(context, plan, runner);
  const run = () => runInstall(context, manager, manager.install);
  const packages: InstalledPackages = installs
    ? await installPackages({ context, plan, manager, prune, run })
    : { isPruned: false };
  return { plan, manager, runner, packages };
}

/**
 * Returns what decides the removal of dev dependencies, if nothing but the install writes packages before the removal. Undefined
 * otherwise.
 */
async function pruneAlone(context: BuildContext, plan: BuildPlan | undefined): Promise<string | undefined> {
  const { settings, start, planAgain, packages = [] } = context;
  if (plan === undefined || planAgain !== undefined || packages.length > 0) return undefined;
  const isOwn = installScripts.some((name) => plan.manifest.scripts[name] !== undefined);
  const isBuilt = plan.scripts.length > 0 || (start?.builds.length ?? 0) > 0;
  if (isOwn || isBuilt || settings.hooks.postBuild !== undefined || !hasDev(plan)) return undefined;
  if (!settings.build.prune) return undefined;
  return JSON.stringify(await neededAfterBuild(context, { at: plan.at, members: directoriesOf(plan) }));
}

/** Runs the scripts of the build. */
async function runScripts(context: BuildContext, { plan, manager }: Installed): Promise<void> {
  const { scripts } = plan;
  if (scripts.length > 0 && plan.installs) context.step('build');
  for (const { name, member } of scripts) await manager.run('build', [...manager.script, name], member);
}

/** Removes dev dependencies, unless they stay. */
async function removeDev(context: BuildContext, { plan, runner, packages }: Installed): Promise<void> {
  if (!plan.installs || !context.settings.build.prune || !hasDev(plan) || packages.isPruned) return;
  const notices = await prune(context, { at: plan.at, members: directoriesOf(plan) }, runner);
  if (!notices.some(({ code }) => code === 'not_pruned')) await packages.keepPruned?.(notices);
}

function hasDev({ manifest, members }: BuildPlan): boolean {
  const manifests = [manifest, ...(members ?? []).map((member) => member.manifest)];
  return manifests.some(({ devDependencies }) => Object.keys(devDependencies).length > 0);
}

/** Returns the directories of the members of a workspace; null without a workspace. */
function directoriesOf({ members }: BuildPlan): string[] | null {
  return members?.map(({ directory }) => directory) ?? null;
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
