import { AppError } from '../errors/app-error.ts';
import type { Site } from './environment.ts';

/**
 * Ends all that runs of a site that is to be removed: its deploys and its workers.
 * @returns what keeps its traffic from being moved, until it is gone
 */
export async function windUp(site: Site): Promise<Disposable> {
  for (const deployment of site.deployments.values()) {
    deployment.cancel(new AppError('cancelled', `${site.name} was removed while this was being deployed`));
    await deployment.over;
  }
  const traffic = await site.traffic.take();
  try {
    await site.appliance.runner.call('stop', { key: site.name });
    return traffic;
  } catch (error) {
    traffic[Symbol.dispose]();
    throw error;
  }
}
