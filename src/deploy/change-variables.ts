import type { Environment } from '../apps/environment.ts';
import { assertVariables, saveVariables } from '../apps/variables.ts';
import { applyIfRunning } from './scale.ts';

/** What came of a change of variables. */
export interface EnvironmentChange {
  variables: Record<string, string>;
  /** names of those that are not as they were */
  changed: string[];
  /**
   * `switched`: the app runs with them; `kept`: it will from its next start, restart or deploy; `undeployed`: there is no
   * release of it yet, the first one will have them; `unchanged`: all was so already, and nothing was touched.
   */
  outcome: 'switched' | 'kept' | 'undeployed' | 'unchanged';
}

/**
 * Changes variables; null removes one. Where the app runs, they are applied by a switch, and kept only if it boots with
 * them; with `restart: false` they are kept at once, for the next boot. What changes nothing switches nothing either.
 * @throws AppError `invalid_env`; what a boot can throw
 */
export async function changeEnvironment(
  environment: Environment,
  changes: Record<string, string | null>,
  restart: boolean,
  signal: AbortSignal,
): Promise<EnvironmentChange> {
  using _traffic = await environment.traffic.take(signal);
  const before = await environment.variables();
  const variables = merge(before, changes);
  assertVariables(variables, 'the new environment');
  const changed = Object.keys(changes).filter((name) => before[name] !== variables[name]);
  if (changed.length === 0 && !environment.isAhead) return { variables, changed, outcome: 'unchanged' };
  const keep = () => saveVariables(environment.paths.env, variables);
  const keeping = { file: environment.paths.env, keep };
  if (restart && (await applyIfRunning(environment, { env: variables }, signal, keeping))) {
    return { variables, changed, outcome: 'switched' };
  }
  if (!restart) await keep();
  return { variables, changed, outcome: (await environment.store.active()) === null ? 'undeployed' : 'kept' };
}

/** Whether there is anything to set, and not only to remove: an app is created to hold variables, never to lack them. */
export function setsAny(changes: Record<string, string | null>): boolean {
  return Object.values(changes).some((value) => value !== null);
}

/** @throws AppError `invalid_env` where what is to be set cannot be, whatever there is already */
export function assertChanges(changes: Record<string, string | null>): void {
  assertVariables(merge({}, changes), 'the new environment');
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
