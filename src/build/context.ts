import type { AppSettings } from '../config/app-settings.ts';
import type { JobResult, JobSpec, Notice } from '../protocol/runner.ts';
import type { BuildPlan } from './build-plan.ts';
import type { KeptStore } from './reuse/kept-store.ts';
import type { StartDecision } from './start-command/start-plan.ts';

/** Steps of a build, in order. A build announces each step that has work to do. */
type BuildStep = 'preBuild' | 'install' | 'build' | 'postBuild' | 'prune';

/** Purpose of a command. Selects the error code and the known failures. */
export type Purpose = 'install' | 'build' | 'hook';

/** Environment in which Sluice runs a command for an app. */
export interface CommandContext {
  /** values to mask in logs and errors */
  secrets: string[];
  /** name of the environment whose user runs the commands */
  user: string;
  /** true if that user is not the user of the server */
  isolated: boolean;
  /** runs a command and reports both output streams as they arrive */
  runJob(job: JobSpec, onOutput: (text: string) => void, signal: AbortSignal): Promise<JobResult>;
  log(line: string): void;
  signal: AbortSignal;
}

export interface BuildContext extends CommandContext {
  /** staged tree; absolute */
  directory: string;
  /** variables of the app */
  env: Record<string, string>;
  /** names of variables in `env` that the running app does not get; none by default */
  buildOnly?: string[];
  /** variables that describe the release, such as SLUICE_COMMIT */
  about: Record<string, string>;
  settings: AppSettings;
  /** decided start of the app; undefined if nothing starts */
  start?: StartDecision;
  /** directory of the file that starts, relative to the tree; undefined for `directory` of the settings */
  app?: string;
  /** directory for package manager caches that only this app uses; absolute, may not exist yet */
  cache: string;
  /** directory of all package managers, one subdirectory for each name and version; absolute */
  tools: string;
  /** Node.js binary of the app; absolute */
  node: string;
  /** version of that Node.js */
  nodeVersion: string;
  /** further packages of the tree to install and to build; undefined for none */
  packages?: BuildPlan[];
  /** installed packages that the app keeps for its next deploy; undefined to keep and reuse none */
  packageStore?: KeptStore;
  /** caches of build tools that the app keeps for its next build; undefined to keep and use none */
  cacheStore?: KeptStore;
  /** returns the settings and the start anew when the packages are installed, if only the install can show them */
  planAgain?: () => Promise<Pick<BuildContext, 'settings' | 'start' | 'app' | 'packages'>>;
  step(step: BuildStep): void;
  notice(notice: Notice): void;
}
