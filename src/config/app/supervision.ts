import * as v from 'valibot';
import { count, duration, schedule, size, timezone } from '../field-types.ts';

const status = 'an exit status from 0 to 255';
const exitCode = v.pipe(v.number(status), v.integer(status), v.minValue(0, status), v.maxValue(255, status));

const restartTimes = schedule('Times to replace all workers.');
const cronRestart = v.pipe(
  v.union(
    [restartTimes, v.strictObject({ schedule: restartTimes, timezone })],
    'a cron expression, or {"schedule": …, "timezone": …}',
  ),
  v.description('Times to replace all workers, one after the other: a cron expression, or an object.'),
  v.transform((value) =>
    typeof value === 'string'
      ? { schedule: value, timezone: null }
      : { schedule: value.schedule, timezone: value.timezone ?? null },
  ),
);

/** Restart and replacement of workers and background processes. */
export const supervision = {
  maxRestarts: v.optional(
    count(
      'Number of times in a row that a process may end within `minUptime`. Then the process counts as crashed, and Sluice restarts it every 15 s.',
      0,
      1000,
    ),
    16,
  ),
  minUptime: v.optional(duration('Time that a process must run for its start to count as successful.'), '1s'),
  restartDelay: v.optional(
    duration(
      'Pause before the second restart in a row. The pause grows by half with each restart, up to 15 s.',
    ),
    '100ms',
  ),
  stopExitCodes: v.optional(
    v.pipe(
      v.array(exitCode),
      v.description('Exit statuses, 0 to 255, after which a process does not restart.'),
    ),
    [],
  ),
  maxMemory: v.optional(
    v.pipe(
      size(
        'Limit of the resident memory of one process. Above the limit, Sluice replaces the process. A new worker starts before the old one ends.',
      ),
      // A bare Node.js needs more: its worker would be replaced without end. A smaller value most often lacks a unit.
      v.minValue(32 * 1024 ** 2, 'at least "32M"'),
    ),
  ),
  stuckTimeout: v.optional(
    duration('Time after which Sluice replaces a worker whose event loop does not run; 0 for never.'),
    '10s',
  ),
  cronRestart: v.optional(cronRestart),
};

/** Limits of a release that the kernel enforces. docs/limits.md has the defaults. */
export const limits = {
  memoryLimit: v.optional(
    v.pipe(
      size(
        'Memory limit of all processes of a release together. Above the limit, the kernel kills one of the processes. In addition, they may use the same amount of swap space. Default: derived from `maxMemory` and the number of processes if `maxMemory` is set, else no limit.',
      ),
      // Node.js does not start with less. A smaller value most often lacks a unit.
      v.minValue(64 * 1024 ** 2, 'at least "64M"'),
    ),
  ),
  maxProcesses: v.optional(
    count(
      'Number of processes and threads of a release together. Default: 512, and 64 for each worker and background process.',
      32,
      1_000_000,
    ),
  ),
  cpuWeight: v.optional(
    count('Share of the processor, relative to other apps, while all processors are busy.', 1, 10_000),
    100,
  ),
};
