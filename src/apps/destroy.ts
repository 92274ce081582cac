import { AppError } from '../errors/app-error.ts';
import type { Environment } from './environment.ts';

/**
 * Ends all that runs of an environment that is to be removed: its deploys and its workers.
 * @returns what keeps its traffic from being moved, until it is gone
 */
export async function windUp(environment: Environment): Promise<Disposable> {
  for (const deployment of environment.deploys.all) {
    deployment.cancel(
      new AppError('cancelled', `${environment.name} was removed while this was being deployed`),
    );
    await deployment.ended;
  }
  const traffic = await environment.traffic.take();
  try {
    await environment.appliance.runner.call('stop', { key: environment.name });
    return traffic;
  } catch (error) {
    traffic[Symbol.dispose]();
    throw error;
  }
}
