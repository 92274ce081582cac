import type { AppSettings } from '../config/app-settings.ts';
import type { JobResult, JobSpec, Notice } from '../protocol/runner.ts';

/** The steps of a build, in order; each is announced when it begins, and only if there is something to do in it. */
export type BuildStep = 'preBuild' | 'install' | 'build' | 'postBuild' | 'prune';

/** What a command is run for: it decides what its failure is called, and what is known of such failures. */
export type Purpose = 'install' | 'build' | 'hook';

/** What it takes to run a command for an app. */
export interface CommandContext {
  /** the app's own variables; their values are masked in what is logged and thrown */
  env: Record<string, string>;
  /** key of the target as whose user they run */
  user: string;
  /** whether that is another user than ours, who has nothing of what we have */
  isolated: boolean;
  /** runs an external command and tells its output as it comes, both streams alike */
  runJob(job: JobSpec, onOutput: (text: string) => void, signal: AbortSignal): Promise<JobResult>;
  log(line: string): void;
  signal: AbortSignal;
}

export interface BuildContext extends CommandContext {
  /** the staged tree; absolute */
  directory: string;
  settings: AppSettings;
  /** directory for caches of package managers that only this app uses; absolute, may not exist yet */
  cache: string;
  /** where package managers are kept, one directory a name and version; absolute */
  tools: string;
  /** the Node.js binary that runs the app; absolute */
  node: string;
  step(step: BuildStep): void;
  notice(notice: Notice): void;
}
