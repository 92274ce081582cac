import { assertEnv, saveEnv } from '../config/env-store.ts';
import { applyIfRunning } from './processes.ts';
import type { Site } from './site.ts';

/**
 * Changes variables; null removes one. Where the app runs, they are applied by a switch, and kept only if it boots with
 * them; with `restart: false` they are kept at once, for the next boot.
 * @throws AppError `invalid_env`; what a boot can throw
 */
export async function changeEnvironment(
  site: Site,
  changes: Record<string, string | null>,
  restart: boolean,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  using _traffic = await site.traffic.take(signal);
  const env = merge(await site.environment(), changes);
  assertEnv(env, 'the new environment');
  const keep = () => saveEnv(site.paths.env, env);
  if (restart) await applyIfRunning(site, { env }, signal, keep);
  else await keep();
  return env;
}

/** @throws AppError `invalid_env` where what is to be set cannot be, whatever there is already */
export function assertChanges(changes: Record<string, string | null>): void {
  assertEnv(merge({}, changes), 'the new environment');
}

function merge(
  current: Record<string, string>,
  changes: Record<string, string | null>,
): Record<string, string> {
  const merged = { ...current };
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) delete merged[name];
    else merged[name] = value;
  }
  return merged;
}
