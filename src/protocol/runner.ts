import type { AppSettings } from '../config/app-settings.ts';
import type { AppMetric, AppProtocol } from './worker.ts';

/** Settings of an app that the runner gets as they are: see docs/settings.md. Times are in ms. */
type PassedOn = 'health' | 'warmup' | 'watchLimits' | 'waitReady' | 'overlap' | 'cron' | TimeSetting;
type TimeSetting = 'bootTimeout' | 'settleTime' | 'drainTimeout' | 'keepWarm' | 'stuckTimeout' | 'watchTime';

/** End, restart and variables of the workers, or of one background process. */
export interface SupervisionSpec extends Pick<AppSettings, 'killTimeout' | 'shutdownWithMessage'> {
  /** signal that ends a process; null for SIGTERM, or SIGINT if the app handles only SIGINT */
  stopSignal: NodeJS.Signals | null;
  restarts: RestartSpec;
  /** bytes of resident memory above which a process is replaced; null for no limit */
  maxMemory: number | null;
  /** times at which all workers are replaced, one after the other, or a background process is restarted; null for never */
  cronRestart: Pick<CronSpec, 'schedule' | 'timezone'> | null;
  /** variable with the number of the instance */
  instanceVar: string;
  /** variable to whose value the number of the instance is added; null for none */
  incrementVar: string | null;
  /** `pm_id` of the first instance; null for an app without the variables of PM2 */
  pmId: number | null;
}

/** Everything that the runner needs to run one release: it reads no settings and no records itself. */
export interface GenerationSpec extends Pick<AppSettings, PassedOn>, SupervisionSpec {
  /** name of the environment, such as `shop@staging`: see `environmentName` */
  key: string;
  release: number;
  /** directory of the release */
  directory: string;
  /** working directory of the workers, relative to the release; left out for the release itself */
  workingDirectory?: string;
  /** working directory of cron jobs, relative to the release; left out for the release itself */
  commandDirectory?: string;
  /** absolute path of the Node.js binary */
  node: string;
  nodeArgs: string[];
  /** absolute path of the script */
  script: string;
  args: string[];
  /** command to run in place of `script`; left out if the app starts from a file */
  exec?: ExecCommand;
  env: Record<string, string>;
  workers: number;
  host: string;
  port: number;
  /** the port is bound by the call `takePort`, because another program still has it */
  takesPort?: true;
  /** port in the code of an app that ignores PORT; null if not known */
  codePort: number | null;
  /** true to send all requests of a client to the same worker */
  affinity: boolean;
  maxDraining: number;
  limits: GenerationLimits;
  background: BackgroundSpec[];
  /** background processes of the active generation that this generation would run in the same way continue */
  keepsBackground?: true;
  /** the release has been live in the same way: see waitUntilSettled */
  isProven?: true;
  log: LogSpec;
  /** absolute paths */
  paths: { current: string; generation: string; cron: string };
}

/** Command that starts the app in a process of its own: exec mode. */
export interface ExecCommand {
  /** run by `/bin/sh -c` in the app's directory: the release, or `directory` in it */
  command: string;
  /** clause on why the command is not a file that Node.js can run, such as `it runs the shell script ./start.sh` */
  reason: string;
}

/** Settings of the log of an app. */
export interface LogSpec {
  /** absolute path of the directory of `app.log` and of rotated files */
  directory: string;
  /** bytes after which `app.log` is rotated */
  size: number;
  /** cron expression in the machine's time zone: the log is also rotated at these times */
  schedule: string;
  /** number of rotated files that are kept */
  keep: number;
  /** limit of the logs of all apps together, in bytes */
  maxBytes: number;
  /** effect on a process that prints faster than the log is written: it waits, or lines are dropped and counted */
  overflow: 'wait' | 'drop';
  /** values that are masked */
  secrets: string[];
}

/** Limits and delays of restarts. */
export interface RestartSpec
  extends Pick<AppSettings, 'autorestart' | 'maxRestarts' | 'minUptime' | 'stopExitCodes'> {
  /** before the second restart in a row, in ms; grows by half each time */
  delay: number;
  /** false for a delay that does not grow, before the first restart, too */
  backoff: boolean;
}

/**
 * A process without a port. Parts of SupervisionSpec that are left out are those of the release, except `pmId` and, in a release
 * with workers, `cronRestart` and `incrementVar`.
 */
export interface BackgroundSpec extends Partial<SupervisionSpec> {
  /** see docs/settings.md; that of the release if left out */
  waitReady?: boolean;
  /** name in the log and in status; never `web` or `cron` */
  name: string;
  count: number;
  nodeArgs: string[];
  /** absolute path */
  script: string;
  args: string[];
  /** shell command to run in place of `script`; left out for a file */
  exec?: string;
  /** variables of its command, besides those of the app; null for a variable of the app that the process does not get */
  env: Record<string, string | null>;
  /** working directory, relative to the release; left out for the release itself */
  workingDirectory?: string;
  /** true if new processes may start while those of the former release still run */
  overlap: boolean;
}

/** Cron entry: a command or a request at set times. */
export type CronSpec = AppSettings['cron'][number];

/** One external command that the runner runs for the server, such as a build or a hook. */
export interface JobSpec {
  argv: [string, ...string[]];
  directory: string;
  /** working directory, relative to `directory`; left out for `directory` itself */
  workingDirectory?: string;
  env: Record<string, string>;
  /** environment whose user runs the command; null for the owner of the home. Without users, the runner's user does */
  user: string | null;
  /** below the live apps in CPU and I/O */
  lowPriority: boolean;
  /** milliseconds */
  timeout: number;
}

export interface JobResult {
  /** null after a signal */
  code: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  durationMs: number;
  /** ms between SIGTERM and SIGKILL; left out if the process was not killed */
  killedAfter?: number;
  /** number of processes that the job left running, which were killed; left out if there were none */
  left?: number;
  /** shortage of the command or of its children; left out if none is known */
  shortage?: Shortage;
}

/** Size of a terminal. */
export interface TerminalSize {
  rows: number;
  columns: number;
}

/** One-off command: a program that a person runs in a release. */
export interface OneOffSpec extends Pick<JobSpec, 'argv' | 'directory' | 'workingDirectory' | 'env'> {
  /** environment whose user runs the command */
  key: string;
  release: number;
  /** text of the command for people, masked */
  command: string;
  /** caller who runs the command */
  by: string;
  /** absolute path of the Node.js of the release */
  node: string;
  /** size of its terminal; null for pipes, or if the command is detached */
  terminal: TerminalSize | null;
  /** true to run the command without a connection: its output goes to the log of the app */
  detached: boolean;
  log: LogSpec;
}

/** Running one-off command. */
export interface OneOffStatus
  extends Pick<OneOffSpec, 'key' | 'release' | 'command' | 'by' | 'node' | 'detached'> {
  /** six hexadecimal digits */
  id: string;
  startedAt: string;
}

/** Message of a one-off command: its start, or base64 of its output. */
export type OneOffProgress = { id: string } | { stream: 'stdout' | 'stderr'; data: string };

/** End of a one-off command. */
export type OneOffResult = Pick<JobResult, 'code' | 'signal' | 'durationMs' | 'left' | 'shortage'>;

/** Signals that a caller may send to a one-off command. */
export const oneOffSignals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
export type OneOffSignal = (typeof oneOffSignals)[number];

export type WorkerState = 'booting' | 'ready' | 'opening' | 'open' | 'retired' | 'drained' | 'exited';

/** Usage of a process; null if not known. */
export interface ProcessUsage {
  /** percent of one core */
  cpuPercent: number | null;
  /** resident memory */
  memoryBytes: number | null;
}

export interface WorkerStatus extends ProcessUsage {
  pid: number;
  instance: number;
  generation: number;
  release: number;
  state: WorkerState;
  startedAt: string;
  /** number of restarts in its slot since the release went live */
  restarts: number;
  /** last delay of its event loop; null if not reported */
  eventLoopDelayMs: number | null;
  connections: number | null;
  /** number of requests in flight */
  requests: number | null;
  /** metrics that the app has declared */
  metrics: AppMetric[];
}

/**
 * State of a background process. `starting`: its release is not live yet. `stopped`: it has ended with one of `stopExitCodes`, or
 * has the setting `autorestart: false`.
 */
export type BackgroundState = 'starting' | 'running' | 'waiting' | 'crashed' | 'stopping' | 'stopped';

export interface BackgroundStatus extends ProcessUsage {
  name: string;
  instance: number;
  release: number;
  /** null while no process runs */
  pid: number | null;
  state: BackgroundState;
  /** its last end; null if there was none */
  crash: Crash | null;
  /** true if the process has ended as it should not, and does not run, or has run for less than 30 s since */
  failing: boolean;
  startedAt: string | null;
  restarts: number;
  /** metrics that the app has declared */
  metrics: AppMetric[];
}

export interface CronStatus {
  name: string;
  schedule: string;
  /** null if there will be none */
  nextRun: string | null;
  running: boolean;
  last: CronResult | null;
}

export interface CronResult {
  at: string;
  durationMs: number;
  /** `skipped`: the last run had not ended, or too many runs were under way */
  outcome: 'done' | 'failed' | 'skipped';
  /** such as `exit status 1` or `answered 200` */
  detail: string;
}

/**
 * State of the live release. `running`: a worker answers or, without workers, a background process runs. `starting`: none answers yet,
 * or at the moment. `crashed`: all workers die soon after their start. `stopped`: all have ended with one of `stopExitCodes`, or are
 * not to start again (`autorestart`).
 */
export type Liveness = 'running' | 'starting' | 'crashed' | 'stopped';

/** End of a process. */
export interface Crash {
  at: string;
  /** such as `worker 0 ended with exit status 1 before it listened` */
  message: string;
  /** last lines that it printed on stderr, or on stdout if there are none */
  output: string[];
}

/** Generation that was active before, and can take the traffic again without a boot. */
export interface StandbyStatus {
  generation: number;
  release: number;
  workers: number;
  /** resident memory of its workers; null if not known */
  memoryBytes: number | null;
  /** time at which its workers end, ISO 8601 */
  until: string;
}

export interface EnvironmentStatus {
  key: string;
  /** number of file descriptors that the runner has open for the app */
  descriptors: number;
  /** null if no generation is active */
  active: { generation: number; release: number; workers: number; exec?: ExecCommand } | null;
  state: Liveness;
  /** time of the last change of `state`, ISO 8601 */
  since: string;
  /** last death of a worker of the active generation; null if none has died */
  crash: Crash | null;
  /** releases of retired generations with requests in flight */
  draining: number[];
  /** null if no generation is on standby after a switch */
  standby: StandbyStatus | null;
  /** release to which the runner returns if the active one is worse; null if the active one is not watched */
  returnsTo: number | null;
  /** all workers, except those on standby after a switch */
  workers: WorkerStatus[];
  background: BackgroundStatus[];
  cron: CronStatus[];
}

/** Finding about the app that its owner should know although it is not an error. */
export interface Notice {
  code: string;
  message: string;
  hint: string;
}

export interface BootResult {
  generation: number;
  workers: number;
  /** from the start of the first worker to the last one healthy, `settleTime` not counted, in ms */
  bootMs: number;
  /** protocol of the app's port */
  protocol: AppProtocol;
  notices: Notice[];
  /** true if the generation was on standby, so that no process was started; undefined otherwise */
  wasWarm?: true;
}

/** Return to the release before, because a release was worse. */
export interface Reverted {
  /** number of the release that was worse */
  release: number;
  /** ISO 8601 */
  at: string;
  /** clause on why it was worse */
  reason: string;
}

/** Content of the generation file, which the runner replaces at each switch. The server and workers without a runner read it. */
export interface ActiveRelease {
  generation: number;
  release: number;
  /** id of the handoff of the generation's workers */
  handoff: string;
  /** set if the runner has switched by itself, because the release before the switch was worse */
  reverted?: Reverted;
}

export interface SwitchResult {
  generation: number;
  /** upper bound of the time during which no worker accepted connections, in ms */
  pauseMs: number;
}

/** Usage of the runner. File descriptors and their limit are null on systems that do not report them. */
export interface RunnerUsage {
  descriptors: number | null;
  maxDescriptors: number | null;
  ports: HeldPortsReport;
}

export interface PortAddress {
  /** numeric */
  host: string;
  port: number;
}

/** Ports that the runner keeps from other users. */
export interface HeldPortsReport {
  /** reason why no port can be held; null if ports can be held */
  unavailable: string | null;
  /** ports that another program has, such as `port 9001 on 127.0.0.1: Address already in use` */
  refused: string[];
}

/** Call of the server to the runner: parameters, result, and messages during the call. `unknown` stands for no result. */
interface Call<Params, Result = unknown, Progress = never> {
  params: Params;
  result: Result;
  progress: Progress;
}

type NoParams = Record<string, never>;

export interface RunnerCalls {
  hello: Call<{ version: number }, { version: number; pid: number; users: boolean; limits: LimitsReport }>;
  /** @param key of one environment; undefined for all */
  status: Call<{ key?: string }, EnvironmentStatus[]>;
  usage: Call<NoParams, RunnerUsage>;
  /** holds exactly these ports, so that no other user can listen there: all assigned ports, whether or not their apps run */
  hold: Call<{ addresses: PortAddress[] }, HeldPortsReport>;
  /** starts a generation and checks its health. It is discarded if the caller hangs up before `switch` */
  boot: Call<{ spec: GenerationSpec }, BootResult, { line: string }>;
  /**
   * `watch`: compare the generation with the one before for `watchTime`, and return to that one if it is worse. `restart`: fail if
   * another release is live
   */
  switch: Call<{ key: string; generation: number; watch?: true; restart?: true }, SwitchResult>;
  /** waits until no watch over a generation is under way */
  watched: Call<{ key: string; generation: number }>;
  /**
   * binds the port of a started generation with `takesPort`, as soon as another program gives up the port, within this time in ms.
   * Clients then wait until the switch. Reports when the wait begins
   */
  takePort: Call<{ key: string; generation: number; within: number }, unknown, { waiting: true }>;
  discard: Call<{ key: string; generation: number }>;
  /**
   * waits until each background process of the live release has ended once, for up to `settleTime`, 3 s at most, and returns
   * those that fail
   */
  failing: Call<{ key: string }, BackgroundStatus[]>;
  /** waits until the background processes of the live release run, and those before have ended; 10 s at most */
  replaced: Call<{ key: string }>;
  /**
   * restarts one background process, such as `mail.0`, or all with a name, as at a switch. Fulfilled when the new ones are ready or
   * have ended, or after `bootTimeout`
   */
  restartProcess: Call<{ key: string; process: string }>;
  /** drains and ends all workers of an environment, and closes its port */
  stop: Call<{ key: string }>;
  /** runs a job; ends it with all its children if the caller hangs up or aborts */
  job: Call<{ job: JobSpec; limits?: JobLimits }, JobResult, { stream: 'stdout' | 'stderr'; text: string }>;
  /**
   * runs a one-off command. Each connection may run one: `input`, `endInput`, `resize` and `signal` of the same connection are about
   * this command. When the caller hangs up, the command ends with all its children, unless it is detached
   */
  run: Call<{ command: OneOffSpec; limits: JobLimits }, OneOffResult, OneOffProgress>;
  /** writes base64 to its input; fulfilled when the command can take more, and only then the next call may follow */
  input: Call<{ data: string }>;
  endInput: Call<NoParams>;
  resize: Call<TerminalSize>;
  /** sends a signal to its process group */
  signal: Call<{ signal: OneOffSignal }>;
  oneOffs: Call<NoParams, OneOffStatus[]>;
  /** ends the one-off commands of an environment, or one of them, and waits for their end. Returns their number */
  endOneOffs: Call<{ key: string; id?: string }, number>;
  /** makes the user of an environment, if apps have users, and gives each directory to its owner */
  prepare: Call<{ key: string }>;
  /** gives a tree such as `staging/7` to the app's user; a repetition does nothing */
  own: Call<{ key: string; tree: string }>;
  /** kills all processes of the user of an app that is being removed */
  endAll: Call<{ key: string }>;
  /** kills all processes of an environment's user, and removes its logs and the user; `aside`: new directory of the app */
  forget: Call<{ key: string; aside: string }>;
  /**
   * starts the server again by a connection to its socket, after a time in ms; null: only when the next runner starts. The server
   * calls this before it rests. Fails with `bad_request` if no socket of systemd starts the server
   */
  wakeServer: Call<{ after: number | null }>;
  /** ends the runner, and leaves its processes to the next one */
  leave: Call<NoParams>;
  /** ends all processes and the runner */
  shutdown: Call<NoParams>;
}

/** Limits of all processes of a generation together, enforced by the kernel: see LimitsReport. */
export interface GenerationLimits {
  /** bytes, caches of files included; null for no limit */
  memory: number | null;
  /** processes and threads; null for no limit */
  processes: number | null;
  /** share of the processor relative to other apps, from 1 to 10000 */
  cpuWeight: number;
}

/** Limits of one job. `memory` null: the memory that is free when the job starts. `cpuWeight`: relative to other jobs. */
export interface JobLimits extends GenerationLimits {
  /** environment of the job: see GenerationSpec */
  key: string;
}

/** Cgroup controller: limits memory, the share of the processor, or the number of processes. */
export type LimitedBy = 'memory' | 'cpu' | 'pids';

/** Limits that the kernel can enforce for this runner. */
export interface LimitsReport {
  /** version of cgroups; null if the runner has none */
  version: 1 | 2 | null;
  /** true if the runner was started by a unit that gives it a cgroup */
  wanted: boolean;
  effective: LimitedBy[];
  missing: LimitedBy[];
  /** reason why the runner has no cgroups; null if it has */
  reason: string | null;
}

/** Resource that a process did not get. */
export interface Shortage {
  of: 'memory' | 'processes';
  /** the app's own limit, in bytes or as a number; null if the machine's limit was reached */
  limit: number | null;
}
