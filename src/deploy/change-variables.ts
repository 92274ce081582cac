import { changedSinceBuild } from '../apps/built-with.ts';
import type { Environment } from '../apps/environment.ts';
import {
  isSameVariable,
  loadVariableSet,
  saveVariableSet,
  secretValues,
  type VariableChanges,
  type VariableSet,
  withChanges,
} from '../apps/variable-set.ts';
import { assertVariables } from '../apps/variables.ts';
import type { Notice } from '../protocol/runner.ts';
import { failingProcesses } from './failing-processes.ts';
import { applyChange } from './run-state.ts';

export type { VariableChanges } from '../apps/variable-set.ts';

/** Result of a change of variables. */
export interface VariablesChange {
  /** names of variables with another value or kind than before */
  changed: string[];
  /**
   * `switched`: the app runs with them. `kept`: the app gets them at its next start, restart or deploy. `built`: only the next
   * build gets them. `undeployed`: the first release will get them. `unchanged`: they had these values before.
   */
  outcome: 'switched' | 'kept' | 'built' | 'undeployed' | 'unchanged';
  /** about background processes that fail with the new values */
  notices: Notice[];
  /** changed variables whose former values the build of the live release has used */
  rebuild: string[];
}

interface ChangeOptions {
  /** false to keep the values for the next boot */
  restart: boolean;
  /** who makes the change */
  by: string;
}

/**
 * Changes variables. If the app runs and `restart` is true, switches to workers with the new values, and keeps the values
 * only if that succeeds. Otherwise, and for build-only variables, keeps the values for later.
 * @throws AppError `invalid_env`; errors of a failed boot or switch
 */
export async function changeVariables(
  environment: Environment,
  changes: VariableChanges,
  { restart, by }: ChangeOptions,
  signal: AbortSignal,
): Promise<VariablesChange> {
  using traffic = await environment.trafficLock.take(signal);
  const { paths } = environment;
  const before = await loadVariableSet(paths);
  const after = withChanges(before, changes, { by, at: new Date() });
  assertVariables({ ...after.build, ...after.app }, 'the new set of variables');
  const changed = Object.keys(changes).filter((name) => !isSameVariable(name, before, after));
  const live = await environment.liveRelease();
  const stale = live === undefined ? [] : changedSinceBuild(live, after, before);
  const rebuild = stale.filter((name) => changed.includes(name));
  const result = { changed, rebuild, notices: [] };
  if (changed.length === 0 && !environment.hasUnappliedChange) return { ...result, outcome: 'unchanged' };
  const keep = () => saveVariableSet(paths, before, after);
  const isForApp = environment.hasUnappliedChange || changed.some((name) => isOfApp(name, before, after));
  if (!isForApp) {
    await keep();
    return { ...result, outcome: live === undefined ? 'undeployed' : 'built' };
  }
  const trial = {
    env: after.app,
    secrets: secretValues(after),
    files: [paths.variableDetails, paths.env],
    keep,
  };
  if (restart && live !== undefined && (await applyChange(environment, live, trial, signal))) {
    traffic[Symbol.dispose]();
    return { ...result, outcome: 'switched', notices: await failingProcesses(environment, live) };
  }
  if (!restart || live === undefined) await keep();
  return { ...result, outcome: (await environment.store.active()) === null ? 'undeployed' : 'kept' };
}

function isOfApp(name: string, ...sets: VariableSet[]): boolean {
  return sets.some(({ app }) => Object.hasOwn(app, name));
}

/** @throws AppError `invalid_env` if a new value is invalid, whatever other variables the app has */
export function assertChanges(changes: VariableChanges): void {
  const values = Object.entries(changes).flatMap(([name, change]) => {
    if (change === null) return [];
    return [[name, typeof change === 'string' ? change : change.value] as const];
  });
  assertVariables(Object.fromEntries(values), 'the new set of variables');
}
