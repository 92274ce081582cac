import type { ErrorBody } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import type { Release } from '../releases/release.ts';

/** Steps of a deploy, in order. The log, the errors and the history use these names. */
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

/** Error of a deploy or a rollback, and the step that failed; null if no step had begun. */
export type StepFailure = ErrorBody & { step: DeployStep | null };

/** Events of a deploy or a rollback, in order. Exactly one `live` or `failed` ends them. */
export type DeployEvent =
  | { event: 'accepted'; app: string; environment: string; release: number }
  | { event: 'step'; step: DeployStep; at: string }
  | { event: 'log'; line: string }
  | ({ event: 'notice' } & Notice)
  /** `tookMs`: time from the start of the deploy or the rollback */
  | { event: 'live'; release: Release; tookMs: number }
  | { event: 'failed'; release: Release | null; error: StepFailure };

export type DeployWatcher = (event: DeployEvent) => void;
