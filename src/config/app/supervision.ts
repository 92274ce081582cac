import * as v from 'valibot';
import { count, duration, group, memory, schedule, setting, timezone } from '../field-types.ts';

const restartTimes = schedule('Times to replace all workers.');

/** Restart and replacement of workers and background processes. */
export const supervision = {
  maxRestarts: setting(
    'Number of times in a row that a process may end within `minUptime`. Then the process counts as crashed, and Sluice restarts it every 15 s.',
    count(0, 1000),
    16,
  ),
  minUptime: setting('Time that a process must run for its start to count as successful.', duration, '1s'),
  restartDelay: setting(
    'Pause before the second restart in a row. The pause grows by half with each restart, up to 15 s.',
    duration,
    '100ms',
  ),
  stopExitCodes: setting(
    'Exit statuses, 0 to 255, after which a process does not restart.',
    v.array(count(0, 255, 'an exit status from 0 to 255')),
    [],
  ),
  maxMemory: setting(
    'Limit of the resident memory of one process. Above the limit, Sluice replaces the process. A new worker starts before the old one ends.',
    // With less, even a bare Node.js would be replaced without end.
    memory(32),
  ),
  stuckTimeout: setting(
    'Time after which Sluice replaces a worker whose event loop does not run; 0 for never.',
    duration,
    '10s',
  ),
  cronRestart: setting(
    'Times to replace all workers, one after the other: a cron expression, or an object.',
    v.pipe(
      v.union(
        [restartTimes, group({ schedule: restartTimes, timezone })],
        'a cron expression, or {"schedule": …, "timezone": …}',
      ),
      v.transform((value) => {
        const { schedule, timezone = null } = typeof value === 'string' ? { schedule: value } : value;
        return { schedule, timezone };
      }),
    ),
  ),
};

/** Limits of a release that the kernel enforces. docs/limits.md has the defaults. */
export const limits = {
  memoryLimit: setting(
    'Memory limit of all processes of a release together. Above the limit, the kernel kills one of the processes. In addition, they may use the same amount of swap space. Default: derived from `maxMemory` and the number of processes if `maxMemory` is set, else no limit.',
    memory(64),
  ),
  maxProcesses: setting(
    'Number of processes and threads of a release together. Default: 512, and 64 for each worker and background process.',
    count(32, 1_000_000),
  ),
  cpuWeight: setting(
    'Share of the processor, relative to other apps, while all processors are busy.',
    count(1, 10_000),
    100,
  ),
};
