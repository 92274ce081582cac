import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { exists, ifThere } from '../../system/fs/exists.ts';
import { writeFileAtomic } from '../../system/fs/files.ts';
import { readAppTextIfAny } from '../../system/fs/read-file.ts';
import type { BuildPlan } from '../build-plan.ts';
import type { CommandRunner } from '../command-runner.ts';
import type { BuildContext } from '../context.ts';
import { allowMd4 } from '../md4.ts';
import { baseEnvironment, buildEnvironment } from '../variables.ts';
import { managers, type PackageManager } from './managers.ts';
import { npmInstaller } from './npm.ts';
import { carriedTool, provideTool } from './tools.ts';
import { versionForNode } from './versions.ts';

/** Largest .npmrc that is read, in bytes. */
const maxNpmrc = 256 * 1024;

/** Installed package manager of an app. */
export interface PreparedManager extends PackageManager {
  version: string;
  /** directories of its programs, relative to the directory of all package managers; none if they are those of Node.js */
  path: string[];
  /** variables of its commands */
  commandEnv: Record<string, string>;
  /**
   * Runs the package manager.
   * @param member directory of a member of the workspace to run it in, relative to the workspace
   * @returns the last lines of the output; @throws as `CommandRunner` does
   */
  run(purpose: 'install' | 'build', args: string[], member?: string): Promise<string[]>;
}

/**
 * Installs the package manager of an app.
 * @throws AppError `install_failed`, `build_timeout`
 */
export async function prepareManager(
  context: BuildContext,
  { at, packageManager, userOfMd4 }: BuildPlan,
  runner: CommandRunner,
): Promise<PreparedManager> {
  const { directory: tree, tools, node, isolated, about } = context;
  const directory = join(tree, at);
  const { notices, manager: name, lockfile } = packageManager;
  const version = await versionForNode(name, packageManager.version, context.nodeVersion);
  for (const notice of notices) context.notice(notice);
  const base = baseEnvironment(process.env, isolated);
  const manager = managers[name]({
    version,
    lockfile,
    pnpmWorkspace: await exists(join(directory, 'pnpm-workspace.yaml')),
    npmrc: name === 'pnpm' ? await npmrcWithVariables(context, directory, base) : undefined,
    yarnCache: await exists(join(directory, '.yarn/cache')),
  });

  const installEnv = { ...manager.installEnv, ...(userOfMd4 !== null && allowMd4(context.env)) };
  const tool = { ...manager, version, installEnv };
  const installTool = npmInstaller(runner, `${tool.package}@${version}`);
  const carried = await carriedTool(tool, node);
  const bin = carried ?? (await provideTool(tool, tools, installTool));
  const env = buildEnvironment({
    ...{ base, about, node, directory: tree },
    app: context.env,
    manager: { ...manager.env, ...installEnv, ...ownCache(context, manager, base) },
    path: [bin],
    ci: context.settings.build.ci,
  });
  // Without a lockfile beside package.json, yarn uses a project in a directory above.
  if (name === 'yarn-berry' && lockfile === null) {
    await runner.run('install', {
      argv: ['/usr/bin/touch', 'yarn.lock'],
      ...{ directory: tree, workingDirectory: at, env },
    });
  }
  return {
    ...tool,
    path: carried === undefined ? [relative(tools, bin)] : [],
    commandEnv: env,
    run: (purpose, args, member = '') => {
      const workingDirectory = [at, member].filter(Boolean).join('/');
      const name = [manager.program, ...args, ...(member === '' ? [] : [`(in ${member})`])].join(' ');
      const argv: [string, ...string[]] = [join(bin, manager.program), ...args];
      return runner.run(purpose, { argv, directory: tree, workingDirectory, env }, name);
    },
  };
}

/**
 * Returns the path of an .npmrc in which pnpm replaces the variables that the app's .npmrc names, as in `_authToken=${NPM_TOKEN}`:
 * the app's own, or a file with the lines of that of the user that builds, too. Returns undefined if the app names no variables, or
 * a file itself.
 */
async function npmrcWithVariables(
  { cache, env, isolated }: BuildContext,
  directory: string,
  base: Record<string, string>,
): Promise<string | undefined> {
  const text = await readAppTextIfAny(directory, '.npmrc', maxNpmrc);
  if (!text?.includes('${') || env['npm_config_userconfig'] !== undefined) return undefined;
  const home = env['HOME'] ?? base['HOME'];
  const ofUser = base['npm_config_userconfig'] ?? (home && join(home, '.npmrc'));
  // The server cannot read the home of another user.
  const lines = isolated || !ofUser ? undefined : await ifThere(readFile(ofUser, 'utf8'));
  if (lines === undefined) return join(directory, '.npmrc');
  const combined = join(cache, 'pnpm/npmrc');
  await mkdir(dirname(combined), { recursive: true });
  await writeFileAtomic(combined, `${lines}\n${text}`, 0o600);
  return combined;
}

/**
 * Returns the variable that gives an app its own cache. Returns nothing for an app with a system user, which has its own
 * caches already, and nothing if the machine's owner or the app has set the variable.
 */
function ownCache(
  { cache, env, isolated }: BuildContext,
  { cacheVariable: name, program }: PackageManager,
  base: Record<string, string>,
): Record<string, string> {
  if (isolated || name === null || base[name] !== undefined || env[name] !== undefined) return {};
  return { [name]: join(cache, program) };
}
