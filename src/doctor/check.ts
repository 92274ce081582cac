import type { AppStatus } from '../apps/status.ts';
import { environmentName } from '../config/paths.ts';
import type { Snapshot } from './snapshot.ts';

/** `warning`: works, but the administrator should act. */
export type CheckState = 'ok' | 'warning' | 'fault';

/** Outcome of a check, or a part of the outcome. */
export interface Finding {
  state: CheckState;
  message: string;
  /** what to do; empty if all is well */
  hint: string;
}

/** Yields findings, of which the worst count; yields none if there is nothing to check. */
export type Check = (snapshot: Snapshot) => Iterable<Finding> | AsyncIterable<Finding>;

export const ok = (message: string): Finding => ({ state: 'ok', message, hint: '' });
export const warning = (message: string, hint: string): Finding => ({ state: 'warning', message, hint });
export const fault = (message: string, hint: string): Finding => ({ state: 'fault', message, hint });

/** Returns the name of the environment that a status is of. */
export function nameOf({ name: app, environment }: AppStatus): string {
  return environmentName({ app, environment });
}

/** Hint if this user may not read something. */
export const asItsUser = 'Run it as the user that Sluice runs as, or as root.';
