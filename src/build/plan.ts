import { type AppSettings, loadAppSettings, topOf } from '../config/app-settings.ts';
import type { Notice } from '../protocol/runner.ts';
import { checkStart } from './start-command/check.ts';
import { nodeVersionNotices, otherToolsNotices } from './start-command/notices.ts';
import { resolveWorkers, type WorkerCount } from './start-command/workers.ts';

/** Properties of the machine that a plan depends on. */
export interface Machine {
  /** version of the Node.js that runs apps, such as `26.10.0` */
  node: string;
  /** number of processors */
  cores: number;
}

/** All that a deploy decides from the files alone, before install and build. */
export interface DeployPlan {
  settings: AppSettings;
  workers: WorkerCount;
  notices: Notice[];
}

/**
 * Returns what a deploy of `directory` would decide. Reads files only: starts no program and writes nothing.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function planDeploy(directory: string, { node, cores }: Machine): Promise<DeployPlan> {
  const settings = await loadAppSettings(topOf(directory));
  await checkStart(directory, settings);
  const workers = await resolveWorkers(settings, directory, cores);
  const notices = [...(await nodeVersionNotices(directory, node)), ...(await otherToolsNotices(directory))];
  return { settings, workers, notices };
}
