import { realpath } from 'node:fs/promises';
import { join, normalize, relative, sep } from 'node:path';
import { parseEnv } from 'node:util';
import type { StartFacts } from '../../config/app-directory.ts';
import type { AppSettings } from '../../config/app-settings.ts';
import {
  defaultBuildScripts,
  installScripts,
  type Manifest,
  readManifest,
} from '../../config/package-manifest.ts';
import { defaultEnvironment } from '../../config/paths.ts';
import { isWorkspace, parentsOf, workspaceOf } from '../../config/workspaces.ts';
import { isMissing, readAppTextIfAny } from '../../system/fs/read-file.ts';
import type { CommandLine } from './shell.ts';
import type { Work } from './steps.ts';

/** Files of an app, before or after its build. */
export interface Project {
  /** directory of the release; absolute */
  root: string;
  /** directory of the app, relative to the release; '.' for the release itself */
  app: string;
  settings: AppSettings;
  facts: StartFacts;
  isBuilt: boolean;
  /** true if the app is a workspace, or a member of one in the release */
  hasWorkspace: boolean;
  /** of the app */
  manifest: Manifest | undefined;
  /** script of package.json that Sluice runs to build the app; undefined for none */
  buildScript: string | undefined;
  /** true if the install or the build may still write files of the app */
  mayBuild: boolean;
  /** what Sluice has read of the app: an app may name the same script very often */
  cache: {
    lines: Map<string, CommandLine>;
    works: Map<string, Work>;
    manifests: Map<string, Promise<{ manifest: Manifest; directory: string } | undefined>>;
  };
}

/** Facts about a start of which only the files are known. */
export const noFacts: StartFacts = { environment: defaultEnvironment, starts: [] };

/** Limit of a text file such as `.env` or `Procfile`, in bytes. */
const maxTextBytes = 256 * 1024;

/**
 * Reads what the start of an app depends on.
 * @param isBuilt true if the app is installed and built
 * @param app directory of the app, relative to the release, if it is not the one of the settings
 * @param ofWorkspace directory of the workspace with the app, if it is known: a search takes time
 * @throws AppError `invalid_settings`
 */
export async function readProject(
  root: string,
  settings: AppSettings,
  isBuilt: boolean,
  app = settings.directory || '.',
  ofWorkspace?: string,
): Promise<Project> {
  const manifest = await readManifest(root, app);
  const workspace = ofWorkspace ?? (await workspaceOf(root, relativeTo(app)));
  const top = workspace === undefined ? undefined : await readManifest(root, workspace);
  const hasWorkspace = workspace !== undefined || (await isWorkspace(join(root, app)));
  const buildScript =
    (top && buildScriptOf(settings, top)) ?? (manifest && buildScriptOf(settings, manifest));
  const mayInstall = hasWorkspace || (manifest !== undefined && hasInstallScript(manifest));
  const hooks = settings.hooks.preBuild ?? settings.hooks.postBuild;
  const mayBuild = !isBuilt && (buildScript !== undefined || mayInstall || hooks !== undefined);
  const cache = { lines: new Map(), works: new Map(), manifests: new Map() };
  return {
    root,
    app,
    settings,
    facts: noFacts,
    isBuilt,
    hasWorkspace,
    manifest,
    buildScript,
    mayBuild,
    cache,
  };
}

function buildScriptOf({ build }: AppSettings, { scripts }: Manifest): string | undefined {
  if (build.command === false) return undefined;
  const names = build.command === undefined ? defaultBuildScripts : [build.command];
  return names.find((name) => scripts[name] !== undefined);
}

function hasInstallScript({ scripts }: Manifest): boolean {
  return installScripts.some((name) => scripts[name] !== undefined);
}

/**
 * Returns the package.json that applies in a directory of the app, as npm finds it: there, or in a directory above, up to the
 * release.
 * @returns the manifest with its directory, relative to the release; undefined if there is none
 * @throws AppError `invalid_settings`
 */
export function manifestFor(
  { root, cache }: Project,
  directory: string,
): Promise<{ manifest: Manifest; directory: string } | undefined> {
  const found = cache.manifests.get(directory) ?? findManifest(root, directory);
  cache.manifests.set(directory, found);
  return found;
}

async function findManifest(
  root: string,
  directory: string,
): Promise<{ manifest: Manifest; directory: string } | undefined> {
  for (const at of parentsOf(directory)) {
    const found = at === '' || (await isInside(root, at)) ? await readManifest(root, at) : undefined;
    if (found !== undefined) return { manifest: found, directory: at || '.' };
  }
  return undefined;
}

/** Returns true if a path of the app exists and no link of the path leads out of it. */
async function isInside(root: string, path: string): Promise<boolean> {
  try {
    const found = relative(await realpath(root), await realpath(join(root, path)));
    return staysInside(found);
  } catch (error) {
    if (!isMissing(error)) throw error;
    return false;
  }
}

/** Returns a directory as a path relative to the release: '' for the release, of which '.' is another name. */
export function relativeTo(directory: string): string {
  return directory === '.' ? '' : directory;
}

/** Returns true if a path, as written, stays inside the directory that it is relative to. */
export function staysInside(path: string): boolean {
  const normal = normalize(path);
  return !normal.startsWith('/') && normal !== '..' && !normal.startsWith(`..${sep}`);
}

/** Returns the text of a file of the app; undefined if it does not exist, is too large, or is not a file of the app. */
export async function readText({ root }: Pick<Project, 'root'>, path: string): Promise<string | undefined> {
  return staysInside(path) ? readAppTextIfAny(root, path, maxTextBytes) : undefined;
}

/** Returns the variables of an env file, as text or JSON; undefined if the file cannot be read. */
export async function readEnvFile(
  project: Project,
  path: string,
): Promise<Record<string, string> | undefined> {
  const text = await readText(project, path);
  if (text === undefined) return undefined;
  if (!path.endsWith('.json')) return { ...parseEnv(text) } as Record<string, string>;
  try {
    const values = Object.entries(JSON.parse(text) as object);
    return Object.fromEntries(values.map(([name, value]) => [name, String(value)]));
  } catch {
    return undefined;
  }
}

/** Name of the file that lists the processes of an app, and of the source of its settings. */
export const procfileName = 'Procfile';

/** Returns the commands of a Procfile by process name; undefined if there is none. */
export async function readProcfile(
  project: Pick<Project, 'root' | 'app'>,
  path = join(project.app, procfileName),
): Promise<Record<string, string> | undefined> {
  const text = await readText(project, path);
  if (text === undefined) return undefined;
  const entries = text.split('\n').flatMap((line) => {
    const at = line.indexOf(':');
    const [name, command] = [line.slice(0, Math.max(at, 0)).trimEnd(), line.slice(at + 1).trim()];
    return /^[\w-]+$/.test(name) && command !== '' ? [[name, command] as const] : [];
  });
  return Object.fromEntries(entries);
}
