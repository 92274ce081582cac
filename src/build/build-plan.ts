import { join, posix } from 'node:path';
import type { AppSettings } from '../config/app-settings.ts';
import {
  emptyManifest,
  installScripts,
  type Manifest,
  namesOfDependencies,
  readManifest,
} from '../config/package-manifest.ts';
import { findMembers, installDirectory, isWorkspace, type Member } from '../config/workspaces.ts';
import { exists } from '../system/fs/exists.ts';
import { type BuildScript, buildScripts } from './build-scripts.ts';
import { type Detected, detectPackageManager } from './install/package-manager.ts';
import { versionForNode } from './install/versions.ts';
import { findUserOfMd4 } from './md4.ts';

/** Work of an install and a build, as far as files show it. */
export interface BuildPlan {
  /** directory of the install, relative to the tree; '' for the tree */
  at: string;
  /** that directory, for a further package of a release */
  place?: string;
  /** package.json of this directory */
  manifest: Manifest;
  /** members of the workspace; null without a workspace */
  members: Member[] | null;
  /** true if there is something to install */
  installs: boolean;
  /** scripts of the build, in order */
  scripts: BuildScript[];
  /** package whose build hashes with MD4; null if none is known */
  userOfMd4: string | null;
  packageManager: Detected;
}

/**
 * Returns the work of the install and the build of an app; undefined if there is none. Reads files only.
 * @param app directory of the file that starts, relative to the tree
 * @throws AppError `invalid_settings`, also if the settings name a script that does not exist; `unsupported_package_manager`
 */
export async function planBuild(
  tree: string,
  settings: Pick<AppSettings, 'build' | 'directory'>,
  app = settings.directory ?? '',
): Promise<BuildPlan | undefined> {
  const at = await installDirectory(tree, settings.directory ?? '');
  const directory = join(tree, at);
  const members = (await isWorkspace(directory)) ? await findMembers(directory) : null;
  const manifest = (await readManifest(directory)) ?? (members === null ? undefined : emptyManifest);
  if (manifest === undefined) return undefined;
  const place = { manifest, members: members ?? [], app: posix.relative(at, app) };
  const scripts = buildScripts(place, settings.build.command);
  const hasInstall = members !== null || (await needsInstall(directory, manifest));
  if (!hasInstall && scripts.length === 0) return undefined;
  const manifests = members?.map((member) => member.manifest);
  const packageManager = await detectPackageManager(directory, manifest, manifests);
  // Yarn 2 and later run no script of a project that is not installed.
  const installs = hasInstall || packageManager.manager === 'yarn-berry';
  const userOfMd4 = await findUserOfMd4(directory, manifest);
  return { at, manifest, members, installs, scripts, packageManager, userOfMd4 };
}

/**
 * Returns the work for packages of a release beside the one of `main`, such as `server` and `client` in a repository that is no
 * workspace.
 * @param directories of the packages, relative to the tree
 */
export async function planPackages(
  tree: string,
  settings: Pick<AppSettings, 'build' | 'directory'>,
  main: BuildPlan | undefined,
  directories: string[],
): Promise<BuildPlan[]> {
  const plans: BuildPlan[] = [];
  for (const directory of directories) {
    const at = await packageAbove(tree, posix.relative('.', directory));
    const isOfMain = at === (settings.directory ?? '') || at === main?.at;
    if (
      at === undefined ||
      isOfMain ||
      main?.members?.some((member) => posix.join(main.at, member.directory) === at)
    )
      continue;
    const build = {
      ...settings.build,
      command: settings.build.command === false ? (false as const) : undefined,
    };
    const plan = await planBuild(tree, { build, directory: at });
    if (plan !== undefined && !plans.some((other) => other.at === plan.at))
      plans.push({ ...plan, place: plan.at });
  }
  return plans;
}

/** Returns the directory of the package of a directory, relative to the tree; undefined if the package is the whole tree. */
async function packageAbove(tree: string, directory: string): Promise<string | undefined> {
  for (let at = directory; at !== '' && at !== '.'; at = posix.dirname(at))
    if ((await readManifest(tree, at)) !== undefined) return at;
  return undefined;
}

async function needsInstall(directory: string, manifest: Manifest): Promise<boolean> {
  return (
    namesOfDependencies(manifest).length > 0 ||
    // Package managers run install scripts even without dependencies, and compile a native addon.
    installScripts.some((name) => manifest.scripts[name] !== undefined) ||
    (await exists(join(directory, 'binding.gyp')))
  );
}

/** Describes the package manager of a build, for people: `installs with npm 11.19.1 (package-lock.json)`. */
export async function describeInstall(
  { place, installs, packageManager: { manager, version, lockfile } }: BuildPlan,
  nodeVersion: string,
): Promise<string> {
  const program = manager.replace(/-.*/, '');
  const exact = await versionForNode(manager, version, nodeVersion);
  const where = place === undefined ? '' : ` in ${place}`;
  return `${installs ? 'installs' : 'builds'} with ${program} ${exact} (${lockfile?.name ?? 'no lockfile'})${where}`;
}
