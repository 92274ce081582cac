import type { HealthSettings } from '../config/app-settings.ts';
import type { AppProtocol } from './worker.ts';

/** Everything the runner needs to know to run one release: it reads no settings and no records itself. */
export interface GenerationSpec {
  /** names the app and environment: see targetName */
  key: string;
  release: number;
  /** working directory: the release's own */
  directory: string;
  /** absolute path of the Node.js binary */
  node: string;
  nodeArgs: string[];
  /** absolute path of the script */
  script: string;
  args: string[];
  env: Record<string, string>;
  workers: number;
  host: string;
  port: number;
  /** the port in the app's code where it ignores PORT; null where nothing is known */
  codePort: number | null;
  health: HealthSettings;
  waitReady: boolean;
  /** milliseconds, all of them */
  bootTimeout: number;
  settleTime: number;
  drainTimeout: number;
  killTimeout: number;
  /** signal that ends a process; null for SIGTERM, or SIGINT if the app handles only SIGINT */
  stopSignal: NodeJS.Signals | null;
  maxDraining: number;
  restarts: RestartSpec;
  /** bytes of resident memory above which a worker is replaced; null for any */
  maxMemory: number | null;
  limits: GenerationLimits;
  /** how long its event loop may stand still before a worker is replaced, in ms; 0 for as long as it likes */
  stuckTimeout: number;
  /** when all workers are replaced, one after the other; null for never */
  cronRestart: Pick<CronSpec, 'schedule' | 'timezone'> | null;
  background: BackgroundSpec[];
  cron: CronSpec[];
  log: LogSpec;
  /** absolute paths */
  paths: { current: string; generation: string; cron: string };
}

/** How what an app prints is kept. */
export interface LogSpec {
  /** absolute path: `app.log` and what was rotated lie in it */
  directory: string;
  /** bytes after which `app.log` is rotated */
  size: number;
  /** when it is rotated whatever its size, as a cron expression in the machine's time zone */
  schedule: string;
  /** how many rotated files are kept */
  keep: number;
  /** how many bytes the logs of all apps together may take */
  maxBytes: number;
  /** what becomes of a process that prints faster than is written: it waits, or lines are dropped and counted */
  overflow: 'wait' | 'drop';
  /** values that are masked */
  secrets: string[];
}

/** When and how often a process that has ended is started again. */
export interface RestartSpec {
  /** a process that lived shorter than `minUptime` ms so many times in a row is `crashed` */
  maxRestarts: number;
  minUptime: number;
  /** before the second restart in a row, in ms; grows by half each time */
  delay: number;
  /** exit statuses after which it is not started again */
  stopExitCodes: number[];
}

/** A process without a port, beside the workers. */
export interface BackgroundSpec {
  /** names it in the log and in status; never `web` or `cron` */
  name: string;
  count: number;
  nodeArgs: string[];
  /** absolute path */
  script: string;
  args: string[];
  /** what its command sets beyond the app's variables */
  env: Record<string, string>;
  /** whether new ones may start while old ones still run */
  overlap: boolean;
}

/** Something that is done at set times. */
export interface CronSpec {
  name: string;
  /** cron expression of five fields, or six with seconds first */
  schedule: string;
  /** IANA name; null for the machine's */
  timezone: string | null;
  /** whether it is started although the last run goes on */
  overlap: boolean;
  /** milliseconds */
  timeout: number;
  action: { kind: 'command'; command: string } | { kind: 'request'; method: string; path: string };
}

/** One external command, run by the runner for the server: builds and hooks. The runner does not know which. */
export interface JobSpec {
  argv: [string, ...string[]];
  directory: string;
  env: Record<string, string>;
  /** key of the target as whose user it runs, null for the owner of the home; where there are no users, as the runner */
  user: string | null;
  /** below the live apps in CPU and I/O */
  lowPriority: boolean;
  /** milliseconds */
  timeout: number;
}

export interface JobResult {
  /** null where a signal ended it */
  code: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  durationMs: number;
  /** ms between SIGTERM and SIGKILL; left out if the process was not killed */
  killedAfter?: number;
  /** number of processes that the job left running, which were killed; left out if there were none */
  left?: number;
  /** what it, or something that it had started, was short of; left out where that is nothing that is known */
  shortage?: Shortage;
}

export type WorkerState = 'booting' | 'ready' | 'opening' | 'open' | 'retired' | 'drained' | 'exited';

/** What a process takes of the machine; null where it is not known. */
export interface ProcessFigures {
  /** of one core */
  cpuPercent: number | null;
  /** resident */
  memoryBytes: number | null;
}

export interface WorkerStatus extends ProcessFigures {
  pid: number;
  instance: number;
  generation: number;
  release: number;
  state: WorkerState;
  startedAt: string;
  /** how often the one in its place was started again since the release went live */
  restarts: number;
  /** by how much its event loop was late last; null where it does not say */
  eventLoopDelayMs: number | null;
  connections: number | null;
  /** that it is at work on */
  requests: number | null;
}

/** `stopped`: it has ended with one of `stopExitCodes`. */
export type BackgroundState = 'running' | 'waiting' | 'crashed' | 'stopping' | 'stopped';

export interface BackgroundStatus extends ProcessFigures {
  name: string;
  instance: number;
  release: number;
  /** null while there is none */
  pid: number | null;
  state: BackgroundState;
  /** how it ended last; null where it has not */
  crash: Crash | null;
  startedAt: string | null;
  restarts: number;
}

export interface CronStatus {
  name: string;
  schedule: string;
  /** null where it will not come */
  nextRun: string | null;
  running: boolean;
  last: CronResult | null;
}

export interface CronResult {
  at: string;
  durationMs: number;
  /** `skipped`: the run before had not ended */
  outcome: 'done' | 'failed' | 'skipped';
  /** such as `exit status 1` or `answered 200` */
  detail: string;
}

/**
 * `running` while a worker answers; `crashed` where none does because they die as soon as they are started; `stopped`
 * where all have ended with one of `stopExitCodes`; `starting` where none answers yet, or for the moment.
 */
export type Liveness = 'running' | 'starting' | 'crashed' | 'stopped';

/** Why a process ended. */
export interface Crash {
  at: string;
  /** such as `worker 0 ended with exit status 1 before it listened` */
  message: string;
  /** the last lines that it printed on stderr, or at all */
  output: string[];
}

export interface EnvironmentStatus {
  key: string;
  /** number of file descriptors that the runner holds for the app */
  descriptors: number;
  /** null where nothing is active */
  active: { generation: number; release: number; workers: number } | null;
  state: Liveness;
  /** since when, ISO 8601 */
  since: string;
  /** the last death of a worker of the active generation; null where none has died */
  crash: Crash | null;
  /** releases of retired generations that still have something in flight */
  draining: number[];
  workers: WorkerStatus[];
  background: BackgroundStatus[];
  cron: CronStatus[];
}

/** What the app did that its owner should know although it is no error. */
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
  /** protocol that the app speaks on its port */
  protocol: AppProtocol;
  notices: Notice[];
}

export interface SwitchResult {
  generation: number;
  /** how long nobody accepted connections, in ms */
  pauseMs: number;
}

/** Open file descriptors of the runner's process, and their limit; null on systems that do not report them. Also the held ports. */
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
  /** why no port is held; null if ports are held */
  unavailable: string | null;
  /** ports that another program has, such as `port 9001 on 127.0.0.1: Address already in use` */
  refused: string[];
}

/** Calls of the server to the runner: parameters, result, and what is reported while it is under way. */
export interface RunnerCalls {
  hello: {
    params: { version: number };
    result: { version: number; pid: number; users: boolean; limits: LimitsReport };
    progress: never;
  };
  status: { params: Record<string, never>; result: EnvironmentStatus[]; progress: never };
  usage: { params: Record<string, never>; result: RunnerUsage; progress: never };
  /** keeps exactly these ports from processes of other users: all assigned ports, whether or not their apps run */
  hold: { params: { addresses: PortAddress[] }; result: HeldPortsReport; progress: never };
  /** starts a generation and proves it healthy; nothing live is touched. Discarded if the caller hangs up before `switch`. */
  boot: { params: { spec: GenerationSpec }; result: BootResult; progress: { line: string } };
  switch: { params: { key: string; generation: number }; result: SwitchResult; progress: never };
  discard: { params: { key: string; generation: number }; result: null; progress: never };
  /** ends all workers of a target, drained first, and gives up its port */
  stop: { params: { key: string }; result: null; progress: never };
  /** ended whole if the caller hangs up or aborts */
  job: {
    params: { job: JobSpec; limits?: JobLimits };
    result: JobResult;
    progress: { stream: 'stdout' | 'stderr'; text: string };
  };
  /** where there are users: makes that of a target, and gives its directories to whom they belong */
  prepare: { params: { key: string }; result: null; progress: never };
  /** hands a tree over to the app's user, such as `staging/7`; once is enough */
  own: { params: { key: string; tree: string }; result: null; progress: never };
  /** ends all that runs as the user of an app that is being removed, whatever that does against it */
  endAll: { params: { key: string }; result: null; progress: never };
  /** ends all that runs as a target's user, and removes what is root's of it; `aside`: where the app lies in the home now */
  forget: { params: { key: string; aside: string }; result: null; progress: never };
  /** ends the runner itself and leaves what it runs to the next one */
  leave: { params: Record<string, never>; result: null; progress: never };
  /** ends everything and the runner itself */
  shutdown: { params: Record<string, never>; result: null; progress: never };
}

/** What the kernel holds all processes of a generation to, where Sluice may have it do that: see LimitsReport. */
export interface GenerationLimits {
  /** bytes, of all of them together, caches of files included; null for any */
  memory: number | null;
  /** processes and threads, together; null for any */
  processes: number | null;
  /** share of the processor next to other apps, from 1 to 10000 */
  cpuWeight: number;
}

/** The same for one job. */
export interface JobLimits {
  /** whose it is: see GenerationSpec */
  key: string;
  /** null for what the machine has left when it starts */
  memory: number | null;
  processes: number | null;
  /** next to other jobs; all jobs together are below the apps */
  cpuWeight: number;
}

/** What of the kernel keeps a limit: of memory, of the share of the processor, of processes. */
export type LimitedBy = 'memory' | 'cpu' | 'pids';

/** Which limits the runner can have the kernel keep. */
export interface LimitsReport {
  /** of cgroups; null where it has none to manage */
  version: 1 | 2 | null;
  /** whether there should be some: the runner was started by a unit that gives it a cgroup */
  wanted: boolean;
  effective: LimitedBy[];
  missing: LimitedBy[];
  /** why there are none; null where there are */
  reason: string | null;
}

/** What a process was not given. */
export interface Shortage {
  of: 'memory' | 'processes';
  /** its own limit, in bytes or as a number; null where it was not its own that was reached, but the machine's */
  limit: number | null;
}
