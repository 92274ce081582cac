import type { AppStatus } from '../apps/status.ts';
import { environmentName } from '../config/paths.ts';
import type { Snapshot } from './snapshot.ts';

/** `warning`: works, but the administrator should act. */
export type CheckState = 'ok' | 'warning' | 'fault';

/** Outcome of a check. */
export interface Finding {
  state: CheckState;
  message: string;
  /** what to do; empty if all is well */
  hint: string;
}

/** One line of the report. */
export interface Check {
  name: string;
  /** Returns undefined if there is nothing to check. */
  run(snapshot: Snapshot): Promise<Finding | undefined>;
}

export function ok(message: string): Finding {
  return { state: 'ok', message, hint: '' };
}

export function warning(message: string, hint: string): Finding {
  return { state: 'warning', message, hint };
}

export function fault(message: string, hint: string): Finding {
  return { state: 'fault', message, hint };
}

/** Returns the name of the environment that a status is of. */
export function nameOf({ name: app, environment }: AppStatus): string {
  return environmentName({ app, environment });
}

/** Hint if this user may not read something. */
export const asItsUser = 'Run it as the user that Sluice runs as, or as root.';
