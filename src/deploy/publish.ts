import { shareFiles } from '../apps/files.ts';
import type { Built } from '../build/build.ts';
import { autoWorkers, type DeployPlan } from '../build/plan.ts';
import { completeBackground, completeStart, type StartDecision } from '../build/start-command/start-plan.ts';
import { checkAffinity } from '../build/start-command/workers.ts';
import type { AppSettings } from '../config/app-settings.ts';
import { directorySize } from '../releases/disk.ts';
import type { BackgroundPlan, ReleaseRecord, RunPlan } from '../releases/release.ts';
import { counted } from '../system/text/format.ts';
import { carryAssets } from './carry-assets.ts';
import type { Deployment } from './deployment.ts';
import { linkCompiled } from './link-compiled.ts';
import { secretsOf } from './spec.ts';

/** Result of the steps `preBuild` to `prune`. */
export interface BuildResult extends Required<Pick<ReleaseRecord, 'builtWith'>> {
  built: Built;
  buildMs: number;
}

/** Plan of a deploy, with the values of secret variables that its settings pass on. */
export interface PlanWithSecrets extends DeployPlan {
  passedOn: string[];
}

/** Plans how the release runs, and moves its directory to the releases. The release does not change after that. */
export async function publish(
  deployment: Deployment,
  plan: PlanWithSecrets,
  { built, buildMs, builtWith }: BuildResult,
): Promise<ReleaseRecord> {
  deployment.enter('publish');
  const { environment, number, tree } = deployment;
  const { settings } = plan;
  const start = await planStart(deployment, plan);
  checkAffinity(settings, start.exec !== undefined, start.workers);
  const background = await planBackground(deployment, settings, plan.start);
  await share(deployment, settings.shared);
  // Before files of other releases are linked: they take no space of their own.
  const sizeBytes = await directorySize(tree);
  await linkCompiled(environment, tree);
  const earlier = await carryAssets(deployment, { settings, ...start });
  const secrets = [...(start.secrets ?? []), ...plan.passedOn];
  const run = {
    ...{ settings, origins: plan.origins, ...start, ...earlier, background, ...built },
    ...(secrets.length > 0 && { secrets }),
  };
  deployment.hide(secretsOf([], run));
  const release = await environment.store.update(number, { run, buildMs, sizeBytes, builtWith });
  await environment.store.publish(number);
  return release;
}

/** Plans and logs what the workers run. @throws AppError `nothing_to_run`, `unsupported_start` */
async function planStart(
  deployment: Pick<Deployment, 'tree' | 'notice' | 'log'>,
  { settings, start: decision, workers }: DeployPlan,
): Promise<Omit<RunPlan, 'settings' | 'background'>> {
  const { description, notices, ...start } = await completeStart(deployment.tree, settings, decision);
  for (const notice of notices) deployment.notice(notice);
  for (const command of start.before ?? []) {
    deployment.log(`runs once before the workers start: ${command}`);
  }
  const { count, reason } = settings.workers === 'auto' ? (autoWorkers(start) ?? workers) : workers;
  deployment.log(count === 0 ? description : `${description}, in ${counted(count, 'worker')}`);
  if (reason !== null) deployment.log(reason);
  return { ...start, workers: count };
}

/** Plans and logs what runs beside the workers. @throws AppError if a background process cannot be started */
export async function planBackground(
  deployment: Pick<Deployment, 'tree' | 'notice' | 'log'>,
  settings: AppSettings,
  decision: StartDecision,
): Promise<BackgroundPlan[]> {
  const background = await completeBackground(deployment.tree, settings, decision);
  for (const { name, count, script, exec } of background) {
    const what = exec === undefined ? script : `\`${exec.command}\` in a shell (${exec.reason})`;
    deployment.log(
      `${decision.hasWorkers ? 'also runs' : 'runs'} ${name}${count === 1 ? '' : ` (${count} processes)`}: ${what}`,
    );
  }
  const jobs = settings.cron.map(({ name, schedule }) => `${name} (${schedule})`);
  if (jobs.length > 0) deployment.log(`runs at set times: ${jobs.join(', ')}`);
  return background;
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
