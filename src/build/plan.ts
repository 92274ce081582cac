import { join } from 'node:path';
import { type ReleaseSettings, releaseSettings } from '../config/app-directory.ts';
import type { Notice } from '../protocol/runner.ts';
import { checkStart } from './start-command/check.ts';
import { nodeVersionNotices, otherToolsNotices, unreadSettingsNotices } from './start-command/notices.ts';
import { resolveWorkers, type WorkerCount } from './start-command/workers.ts';

/** Properties of the machine that a plan depends on. */
export interface Machine {
  /** version of the Node.js that runs apps, such as `26.10.0` */
  node: string;
  /** number of processors */
  cores: number;
  /** member of a workspace that is the app, from the setting `root`; undefined or '' if the release is the app */
  member?: string;
}

/** All that a deploy decides from the files alone, before install and build. */
export interface DeployPlan {
  settings: ReleaseSettings;
  workers: WorkerCount;
  notices: Notice[];
}

/**
 * Returns what a deploy of `directory` would decide. Reads files only: starts no program and writes nothing.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function planDeploy(
  directory: string,
  { node, cores, member = '' }: Machine,
): Promise<DeployPlan> {
  const settings = await releaseSettings(directory, member);
  const app = join(directory, settings.directory);
  await checkStart(app, settings);
  const workers = await resolveWorkers(settings, directory, cores, settings.directory);
  const notices = [
    ...(await nodeVersionNotices(app, node)),
    ...(await otherToolsNotices(app)),
    ...(member === '' ? await unreadSettingsNotices(directory, settings.directory) : []),
  ];
  return { settings, workers, notices };
}
