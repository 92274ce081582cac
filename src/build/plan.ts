import { join } from 'node:path';
import { type ReleaseSettings, releaseSettings } from '../config/app-directory.ts';
import type { AppSettings } from '../config/app-settings.ts';
import { type Manifest, readManifest } from '../config/package-manifest.ts';
import { AppError } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import { type AvailableNodes, chooseNode, type NodeChoice } from './node-version/choose.ts';
import { readNodeRequests } from './node-version/requests.ts';
import { checkStart, hasBuild } from './start-command/check.ts';
import { otherToolsNotices, unreadSettingsNotices } from './start-command/notices.ts';
import { findFile, findStart } from './start-command/start-plan.ts';
import { resolveWorkers, type WorkerCount } from './start-command/workers.ts';
import { findPlainSite, findStaticSite, type StaticSite } from './static-site/find.ts';
import { placeStaticSite } from './static-site/place.ts';

/** Properties of the machine that a plan depends on. */
export interface Machine {
  nodes: AvailableNodes;
  /** number of processors */
  cores: number;
  /** member of a workspace that is the app, from the setting `root`; undefined or '' if the release is the app */
  member?: string;
}

/** All that a deploy decides from the files alone, before install and build. */
export interface DeployPlan {
  settings: ReleaseSettings;
  /** static site to serve; undefined for an app that starts a program, and if only the build can show what there is to run */
  site: StaticSite | undefined;
  node: NodeChoice;
  workers: WorkerCount;
  notices: Notice[];
}

/**
 * Returns what a deploy of `directory` would decide. Reads files only: starts no program and writes nothing.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`, `unsupported_node_version`; errors of `nodes`
 */
export async function planDeploy(
  directory: string,
  { nodes, cores, member = '' }: Machine,
): Promise<DeployPlan> {
  const settings = await releaseSettings(directory, member);
  const app = join(directory, settings.directory);
  const node = await chooseNode(await readNodeRequests(directory, settings), nodes);
  const site = await planSite(app, settings);
  await checkStart(app, settings, site);
  const workers = await resolveWorkers(workersOf(settings, site), directory, cores, settings.directory);
  const notices = [
    ...node.notices,
    ...(await otherToolsNotices(app)),
    ...(member === '' ? await unreadSettingsNotices(directory, settings.directory) : []),
  ];
  return { settings, node, site, workers, notices };
}

/** Returns the settings for the number of workers: `auto` is one worker for a static site, which takes little of a processor. */
function workersOf(settings: AppSettings, site: StaticSite | undefined): AppSettings {
  return site !== undefined && settings.workers === 'auto' ? { ...settings, workers: 1 } : settings;
}

/** @throws AppError `nothing_to_run` if no build can write the site */
async function planSite(directory: string, settings: AppSettings): Promise<StaticSite | undefined> {
  const manifest = await readManifest(directory);
  const { preBuild, postBuild } = settings.hooks;
  const hooks = [preBuild, postBuild].some((hook) => hook !== undefined);
  const mayBuild = hooks || (manifest !== undefined && hasBuild(settings, manifest));
  const site = await findStaticSite(directory, manifest, settings);
  if (site !== undefined && !mayBuild) await placeStaticSite(directory, site);
  return site ?? (mayBuild ? undefined : siteInstead(directory, settings));
}

/**
 * Returns the static site of an app that has no program to start now.
 * @throws AppError `unsupported_start`, `invalid_settings`
 */
export async function siteInstead(directory: string, settings: AppSettings): Promise<StaticSite | undefined> {
  const manifest = await readManifest(directory);
  if (findStart(settings, manifest) !== undefined || (await hasFile(directory, manifest))) return undefined;
  return findPlainSite(directory, manifest);
}

async function hasFile(directory: string, manifest: Manifest | undefined): Promise<boolean> {
  try {
    await findFile(directory, manifest);
    return true;
  } catch (error) {
    if (error instanceof AppError && error.code === 'nothing_to_run') return false;
    throw error;
  }
}
