import { resolveBackground } from '../build/start-command/start-plan.ts';
import type { AppSettings } from '../config/app-settings.ts';
import type { BackgroundPlan } from '../releases/release.ts';
import type { Deployment } from './deployment.ts';

/** Settles what a release runs beside its workers, and tells it. @throws AppError where it cannot be run */
export async function whatElseRuns(deployment: Deployment, settings: AppSettings): Promise<BackgroundPlan[]> {
  const { background, notices } = await resolveBackground(deployment.tree, settings);
  for (const notice of notices) deployment.notice(notice);
  for (const { name, count, script } of background) {
    deployment.log(`also runs ${name}${count === 1 ? '' : ` (${count} processes)`}: ${script}`);
  }
  const { cron } = settings;
  if (cron.length > 0) {
    deployment.log(
      `runs at set times: ${cron.map(({ name, schedule }) => `${name} (${schedule})`).join(', ')}`,
    );
  }
  return background;
}
