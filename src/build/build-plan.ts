import { join, posix } from 'node:path';
import type { AppSettings } from '../config/app-settings.ts';
import { emptyManifest, installScripts, type Manifest, readManifest } from '../config/package-manifest.ts';
import { findMembers, installDirectory, isWorkspace, type Member } from '../config/workspaces.ts';
import { type BuildScript, buildScripts } from './build-scripts.ts';
import { findUserOfMd4 } from './md4.ts';

/** Work of an install and a build, as far as files show it. */
export interface BuildPlan {
  /** directory of the install, relative to the tree; '' for the tree */
  at: string;
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
}

/**
 * Returns the work of the install and the build of an app; undefined if there is none. Reads files only.
 * @param app directory of the file that starts, relative to the tree
 * @throws AppError `invalid_settings`, also if the settings name a script that does not exist
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
  const installs = members !== null || needsInstall(manifest);
  if (!installs && scripts.length === 0) return undefined;
  const userOfMd4 = await findUserOfMd4(directory, manifest);
  return { at, manifest, members, installs, scripts, userOfMd4 };
}

function needsInstall(manifest: Manifest): boolean {
  const { dependencies, optionalDependencies, devDependencies, peerDependencies } = manifest;
  const all = { ...dependencies, ...optionalDependencies, ...devDependencies, ...peerDependencies };
  return (
    Object.keys(all).length > 0 ||
    // npm runs install scripts even without dependencies.
    installScripts.some((name) => manifest.scripts[name] !== undefined)
  );
}
