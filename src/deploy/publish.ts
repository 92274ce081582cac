import { join } from 'node:path';
import { shareFiles } from '../apps/files.ts';
import type { DeployPlan } from '../build/plan.ts';
import { resolveBackground, resolveStart } from '../build/start-command/start-plan.ts';
import type { AppSettings } from '../config/app-settings.ts';
import { directorySize } from '../releases/disk.ts';
import type { BackgroundPlan, ProgramPlan, ReleaseRecord } from '../releases/release.ts';
import { counted } from '../system/text/format.ts';
import type { Deployment } from './deployment.ts';

/** Plans how the release runs, and moves its directory to the releases. The release does not change after that. */
export async function publish(
  deployment: Deployment,
  { settings, workers }: DeployPlan,
  buildMs: number,
): Promise<ReleaseRecord> {
  deployment.enter('publish');
  const { environment, number, tree } = deployment;
  const { directory } = settings;
  const { from, notices, ...found } = await resolveStart(join(tree, directory), settings);
  const start = inDirectory(found, directory);
  for (const notice of notices) deployment.notice(notice);
  const { count, reason } = workers;
  deployment.log(`starts with ${start.script} (${from}), in ${counted(count, 'worker')}`);
  if (reason !== null) deployment.log(reason);
  const background = await planBackground(deployment, settings);
  await share(deployment, settings.shared);
  const sizeBytes = await directorySize(tree);
  const run = { settings, ...start, workers: count, background };
  const release = await environment.store.update(number, { run, buildMs, sizeBytes });
  await environment.store.publish(number);
  return release;
}

/** Plans and logs what runs beside the workers. @throws AppError if a background process cannot be started */
export async function planBackground(
  deployment: Pick<Deployment, 'tree' | 'notice' | 'log'>,
  settings: AppSettings,
): Promise<BackgroundPlan[]> {
  const { directory = '' } = settings;
  const { background: found, notices } = await resolveBackground(join(deployment.tree, directory), settings);
  const background = found.map((plan) => inDirectory(plan, directory));
  for (const notice of notices) deployment.notice(notice);
  for (const { name, count, script } of background) {
    deployment.log(`also runs ${name}${count === 1 ? '' : ` (${count} processes)`}: ${script}`);
  }
  const jobs = settings.cron.map(({ name, schedule }) => `${name} (${schedule})`);
  if (jobs.length > 0) deployment.log(`runs at set times: ${jobs.join(', ')}`);
  return background;
}

/** Returns the plan of a program that was found in a directory of the release, with its paths relative to the release. */
function inDirectory<Plan extends ProgramPlan>(plan: Plan, directory: string): Plan {
  return directory === '' ? plan : { ...plan, script: join(directory, plan.script), directory };
}

async function share(deployment: Deployment, paths: string[]): Promise<void> {
  const { environment, tree, signal } = deployment;
  const active = await environment.store.active();
  const live = active === null ? undefined : environment.paths.release(active.release).directory;
  const { moveLock } = environment.appliance;
  const mayMove = () => {
    if (moveLock.isFrozen) deployment.log('waiting for a backup to end, before data is moved');
    return moveLock.move(signal);
  };
  const adopted = await shareFiles(environment, tree, paths, live, mayMove);
  if (adopted.length > 0) {
    deployment.log(`shared from now on, as release ${active?.release} left it: ${adopted.join(', ')}`);
  }
}
