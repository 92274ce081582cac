import type { Paths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import type { AppError } from '../errors/app-error.ts';
import type { Listener } from '../system/net/listeners.ts';
import type { ServerReport } from './ask-server.ts';

/** `warning`: it works, with something that whoever runs Sluice should know. */
export type CheckState = 'ok' | 'warning' | 'fault';

/** What came of looking at one thing. */
export interface Check {
  name: string;
  state: CheckState;
  message: string;
  /** what to do about it; empty where all is well */
  hint: string;
}

/** What the checks look at: gathered once, and true of one moment. */
export interface Patient {
  paths: Paths;
  server: ServerReport;
  /** whether systemd runs it: apps then have users of their own, who must get to what is theirs */
  systemWide: boolean;
  /** what listens on this machine; undefined where that cannot be known */
  listeners: Listener[] | undefined;
  settings: { value: ServerSettings } | { error: AppError };
  /** those that apply: of the file, else the defaults */
  limits: ServerSettings;
}

/** Undefined where there is nothing to look at. */
export type Examination = (patient: Patient) => Promise<Check | undefined>;

export function ok(name: string, message: string): Check {
  return { name, state: 'ok', message, hint: '' };
}

export function warning(name: string, message: string, hint: string): Check {
  return { name, state: 'warning', message, hint };
}

export function fault(name: string, message: string, hint: string): Check {
  return { name, state: 'fault', message, hint };
}

/** Where something is not ours to look at. */
export const asItsUser = 'Run it as the user that Sluice runs as, or as root.';
