import type { ErrorBody } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import type { Release } from '../releases/release.ts';

/** The steps of a deploy, in order. Their names are what the log, the errors and the history say. */
export const deploySteps = [
  'receive',
  'wait',
  'check',
  'preBuild',
  'install',
  'build',
  'postBuild',
  'prune',
  'publish',
  'preSwitch',
  'boot',
  'switch',
  'record',
  'postSwitch',
  'clean',
] as const;

export type DeployStep = (typeof deploySteps)[number];

/** What whoever watches a deploy sees, in order. Exactly one `live` or `failed` ends it. */
export type DeployEvent =
  | { event: 'accepted'; app: string; environment: string; release: number }
  | { event: 'step'; step: DeployStep; at: string }
  | { event: 'log'; line: string }
  | ({ event: 'notice' } & Notice)
  /** `tookMs`: from accepted to live, of this deploy or this rollback */
  | { event: 'live'; release: Release; tookMs: number }
  | { event: 'failed'; release: Release | null; error: ErrorBody & { step: DeployStep | null } };
