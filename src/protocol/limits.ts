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
