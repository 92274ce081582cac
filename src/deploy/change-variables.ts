import type { Environment } from '../apps/environment.ts';
import { assertVariables, saveVariables } from '../apps/variables.ts';
import { applyChange } from './run-state.ts';

/** New values of variables, by name; null removes a variable. */
export type VariableChanges = Record<string, string | null>;

/** Result of a change of variables. */
export interface VariablesChange {
  variables: Record<string, string>;
  /** names of variables with another value than before */
  changed: string[];
  /**
   * `switched`: the app runs with them. `kept`: the app gets them at its next start, restart or deploy. `undeployed`: the
   * first release will get them. `unchanged`: they had these values before.
   */
  outcome: 'switched' | 'kept' | 'undeployed' | 'unchanged';
}

/**
 * Changes variables. If the app runs and `restart` is true, switches to workers with the new values, and keeps the values
 * only if that succeeds. Otherwise keeps the values for the next boot.
 * @throws AppError `invalid_env`; errors of a failed boot or switch
 */
export async function changeVariables(
  environment: Environment,
  changes: VariableChanges,
  restart: boolean,
  signal: AbortSignal,
): Promise<VariablesChange> {
  using _traffic = await environment.trafficLock.take(signal);
  const before = await environment.variables();
  const variables = merge(before, changes);
  assertVariables(variables, 'the new set of variables');
  const changed = Object.keys(changes).filter((name) => before[name] !== variables[name]);
  if (changed.length === 0 && !environment.hasUnappliedChange)
    return { variables, changed, outcome: 'unchanged' };
  const file = environment.paths.env;
  const keep = () => saveVariables(file, variables);
  if (restart && (await applyChange(environment, { env: variables, file, keep }, signal))) {
    return { variables, changed, outcome: 'switched' };
  }
  if (!restart) await keep();
  return { variables, changed, outcome: (await environment.store.active()) === null ? 'undeployed' : 'kept' };
}

/** @throws AppError `invalid_env` if a new value is invalid, whatever other variables the app has */
export function assertChanges(changes: VariableChanges): void {
  assertVariables(merge({}, changes), 'the new set of variables');
}

function merge(current: Record<string, string>, changes: VariableChanges): Record<string, string> {
  const merged = Object.entries({ ...current, ...changes });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== null));
}
