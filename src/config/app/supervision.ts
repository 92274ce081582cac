import * as v from 'valibot';
import { count, duration, schedule, size, timezone } from '../field-types.ts';

/** Less than a bare Node.js takes: with it, a worker would be replaced without end. Mostly a unit was forgotten. */
const leastMemory = 32 * 1024 ** 2;

const status = 'an exit status from 0 to 255';
const exitCode = v.pipe(v.number(status), v.integer(status), v.minValue(0, status), v.maxValue(255, status));

const cronRestart = v.pipe(
  v.union(
    [
      schedule('When all workers are replaced.'),
      v.strictObject({ schedule: schedule('When all workers are replaced.'), timezone }),
    ],
    'a cron expression, or {"schedule": …, "timezone": …}',
  ),
  v.description('When all workers are replaced, one after the other: a cron expression, or an object.'),
  v.transform((value) =>
    typeof value === 'string'
      ? { schedule: value, timezone: null }
      : { schedule: value.schedule, timezone: value.timezone ?? null },
  ),
);

/** When workers and background processes are started again, or replaced. */
export const supervision = {
  maxRestarts: v.optional(
    count(
      'So many times in a row may a process end within `minUptime`; then it counts as crashed, and is tried every 15 s.',
      0,
      1000,
    ),
    16,
  ),
  minUptime: v.optional(duration('How long a process must live for its start to count as a good one.'), '1s'),
  restartDelay: v.optional(
    duration('Pause before the second restart in a row; it grows by half each time, up to 15 s.'),
    '100ms',
  ),
  stopExitCodes: v.optional(
    v.pipe(
      v.array(exitCode),
      v.description('Exit statuses, 0 to 255, after which a process is not started again.'),
    ),
    [],
  ),
  maxMemory: v.optional(
    v.pipe(
      size('Resident memory of one process above which it is replaced, a worker by a fresh one first.'),
      v.minValue(leastMemory, 'at least "32M"'),
    ),
  ),
  stuckTimeout: v.optional(
    duration('How long the event loop of a worker may stand still before it is replaced; 0 for any time.'),
    '10s',
  ),
  cronRestart: v.optional(cronRestart),
};

/** Less than this, and nothing of Node.js would come up. Mostly a unit was forgotten. */
const leastMemoryLimit = 64 * 1024 ** 2;

/** What the kernel holds a release to. See docs/processes.md for what they come to where they are not set. */
export const limits = {
  memoryLimit: v.optional(
    v.pipe(
      size(
        'Memory of all processes of a release together, above which the kernel kills one; as much swap space may be taken besides. Without it: by `maxMemory` and the number of processes, where that is set.',
      ),
      v.minValue(leastMemoryLimit, 'at least "64M"'),
    ),
  ),
  maxProcesses: v.optional(
    count(
      'How many processes and threads a release may have, all together. Without it: 512, and 64 for each worker and background process.',
      32,
      1_000_000,
    ),
  ),
  cpuWeight: v.optional(
    count('Share of the processor next to other apps, where there is not enough for all.', 1, 10_000),
    100,
  ),
};
