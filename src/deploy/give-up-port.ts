import type { Environment } from '../apps/environment.ts';
import { changePort } from '../config/environment-state.ts';
import { AppError } from '../errors/app-error.ts';

/**
 * Gives an app another port if its own one is taken and no release was ever live: nobody knows the port yet.
 * @param error of the boot
 * @returns true if the app has another port now, so that the boot may succeed
 */
export async function giveUpPort(
  { appliance, id, store }: Environment,
  error: unknown,
  log: (line: string) => void,
): Promise<boolean> {
  if (!(error instanceof AppError && error.code === 'port_taken')) return false;
  if ((await store.active()) !== null) return false;
  const { paths, settings, domains } = appliance;
  const state = await changePort(paths, id, settings.apps);
  if (state === undefined) return false;
  log(`${error.message}; no release was live there, so the app gets port ${state.port}`);
  await appliance.reservePorts();
  domains.refresh();
  return true;
}
