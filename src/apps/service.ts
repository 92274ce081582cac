import type { Readable } from 'node:stream';
import type { EnvironmentId } from '../config/paths.ts';
import type { DeployEvent } from '../deploy/events.ts';
import type { DomainView } from '../edge/domain.ts';
import type { ErrorBody } from '../errors/app-error.ts';
import type { ServiceMode, ServiceName } from '../git/service.ts';
import type { LogLine } from '../logs/join.ts';
import type { LogQuery } from '../logs/read.ts';
import type {
  BackgroundStatus,
  Crash,
  CronStatus,
  Liveness,
  Notice,
  WorkerStatus,
} from '../protocol/runner.ts';
import type { GitExchange } from '../push/session.ts';
import type { Release, ReleaseSource } from '../releases/release.ts';

export type { LimitsReport, RunnerUsage } from '../protocol/runner.ts';

/** As far as its workers are concerned, and `stopped` also where it was told to stop; `empty` has had no release live. */
export type AppState = Liveness | 'empty';

/** Reason why an app could not be started. */
export interface Problem extends ErrorBody {
  /** ISO 8601 */
  at: string;
}

/** One app in one environment, as `sluice status --json` and the API show it. */
export interface AppStatus {
  name: string;
  environment: string;
  state: AppState;
  /** since when it is in that state, ISO 8601 */
  since: string;
  /** the last death of a worker of the live release, since that went live; null where none has died */
  crash: Crash | null;
  /** why the last start failed; null if none has failed, and null unless the app should run and does not run */
  problem: Problem | null;
  /** at its first domain, where it has one */
  url: string;
  port: number;
  /** host names that lead to it, the oldest first */
  domains: DomainView[];
  /** number of the live release; null where none is */
  release: number | null;
  /** how many there should be; null where it does not run */
  wanted: number | null;
  workers: WorkerStatus[];
  /** processes without a port */
  background: BackgroundStatus[];
  cron: CronStatus[];
  /** number of file descriptors that the runner holds for the app */
  descriptors: number;
  /** releases that are being deployed now, the oldest first */
  deploying: number[];
  /** number of the release that it ran in a backup, and that is to be built here before anything runs; else null */
  rebuild: number | null;
}

/** What is to become a release. */
export interface DeploySource {
  origin: ReleaseSource;
  /** a tar, plain or compressed with gzip or zstd; read to its end unless refused */
  body: Readable;
  /** bytes announced by the sender; null where it did not say */
  contentLength: number | null;
  /** paths of directories whose content is in another repository, and so not in the tar */
  submodules?: string[];
  /** asked when its turn has come: what whoever asked for it should know of what is live by then */
  review?: () => Promise<Notice | null>;
  /** aborted, with the reason, when whoever asked for it is gone: it is cancelled then, unless its switch has begun */
  abandoned?: AbortSignal;
}

/** A client of git that asks for something, as git itself names it. */
export interface GitCall {
  service: ServiceName;
  mode: ServiceMode;
  /** the version of git's protocol that the client asks for, such as `version=2`; may be anything that it has sent */
  protocol: string;
  /** who pushes, for the history */
  by: string;
  /** what a pusher is told before anything else; null where there is nothing such */
  warning: string | null;
  /** how the pusher is shown what happens */
  render: (event: DeployEvent) => string;
}

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
 * What can be done with apps. The API offers it over HTTP; everything that changes something writes `events.jsonl`.
 * All methods throw AppError: `app_not_found` and `invalid_name` any of them, others as told.
 */
export interface AppServiceApi {
  /**
   * The one way in. Creates the app on first use.
   * @throws AppError whatever the step that failed has to say; the release is then in state `failed`
   */
  deploy(
    target: EnvironmentId,
    source: DeploySource,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release>;
  /**
   * Builds the commit of an earlier release anew, as a release of its own.
   * @throws AppError as `deploy`, and `release_not_found`, `commit_not_kept`
   */
  redeploy(
    target: EnvironmentId,
    release: number,
    by: string,
    onEvent: (event: DeployEvent) => void,
  ): Promise<Release>;
  /**
   * Starts git for one client. A push deploys: git accepts it when the release is live. The first push creates the app.
   * @throws AppError `git_missing`, `disk_full`, `stopping`
   */
  git(app: string, call: GitCall): Promise<GitExchange>;
  /** To `release`, or the live-once release before the active one. @throws `nothing_to_roll_back_to`, `release_not_found` */
  rollback(
    target: EnvironmentId,
    release: number | null,
    by: string,
    onEvent?: (event: DeployEvent) => void,
  ): Promise<Release>;
  /** Ends a deploy that has not reached its switch. @throws `not_cancellable` */
  cancel(target: EnvironmentId, release: number, by: string): Promise<Release>;
  /** Switches to a fresh generation of the active release. @throws `not_deployed` */
  restart(target: EnvironmentId, by: string): Promise<AppStatus>;
  stop(target: EnvironmentId, by: string): Promise<AppStatus>;
  start(target: EnvironmentId, by: string): Promise<AppStatus>;
  /** Sets the number of workers from now on, whatever the release says; null goes back to what it says. */
  scale(target: EnvironmentId, workers: number | null, by: string): Promise<AppStatus>;

  environment(target: EnvironmentId): Promise<Record<string, string>>;
  /**
   * Changes variables, null removes; applied by a switch where something runs, unless `restart` is false.
   * To set one creates the app.
   * @throws `invalid_env`
   */
  changeEnvironment(
    target: EnvironmentId,
    changes: Record<string, string | null>,
    options: { restart: boolean; by: string },
  ): Promise<EnvironmentChange>;

  /** All targets, by name. */
  list(): Promise<AppStatus[]>;
  status(target: EnvironmentId): Promise<AppStatus>;
  /** Notes about an app whose live release does not work behind a domain. */
  domainNotices(target: EnvironmentId, domain: DomainView): Promise<Notice[]>;
  /** The newest first. */
  releases(target: EnvironmentId): Promise<Release[]>;
  /** @throws `release_not_found` */
  release(target: EnvironmentId, number: number): Promise<Release>;
  /** What the build log holds now. @throws `release_not_found` */
  buildLog(target: EnvironmentId, number: number): Promise<Readable>;
  /** The lines of an app's log that match, the oldest first. */
  logs(target: EnvironmentId, query: LogQuery): AsyncIterable<LogLine>;
  /**
   * Stops and removes an app in all its environments, with all it kept.
   * @param gone called when there is no such app any more, while its files are still being deleted
   * @throws `backup_running`
   */
  destroy(app: string, by: string, gone: () => Promise<void>): Promise<void>;
  /** Moves and removes nothing of what is on the disk, until what is returned is disposed of: for a backup. */
  hold(by: string): Promise<Disposable>;
}
