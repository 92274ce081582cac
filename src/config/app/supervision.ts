import * as v from 'valibot';
import {
  count,
  duration,
  group,
  memory,
  optionalGroup,
  schedule,
  setting,
  text,
  timezone,
} from '../field-types.ts';

/** Signals that a process can handle. SIGUSR1 starts the debugger of Node.js. */
const stopSignals = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR2'] as const;

const stopSignal = v.picklist(stopSignals, `one of ${stopSignals.join(', ')}`);

/** Name of a variable that Sluice sets for each instance. Sluice needs `SLUICE_…` for itself, and PATH to find programs. */
const variableName = text(
  /^(?!(?:SLUICE_.*|PATH|__proto__)$)[A-Za-z_][A-Za-z0-9_]{0,99}$/,
  'a name of letters, digits and "_", but not PATH or SLUICE_…',
);

/** @param description of the times */
function restartSchedule(description: string) {
  const times = schedule(description);
  return v.pipe(
    v.union(
      [times, group({ schedule: times, timezone })],
      'a cron expression, or {"schedule": …, "timezone": …}',
    ),
    v.transform((value) => {
      const { schedule, timezone = null } = typeof value === 'string' ? { schedule: value } : value;
      return { schedule, timezone };
    }),
  );
}

// With less, even a bare Node.js would be replaced without end.
const memoryOfProcess = memory(32);
const times = count(0, 1000);
const exitCodes = v.array(count(0, 255, 'an exit status from 0 to 255'));

/** End, restart and replacement of workers and background processes. */
export const supervision = {
  killTimeout: setting('Time between the stop signal and SIGKILL.', duration, '5s'),
  stopSignal: setting(
    'Signal that ends a worker or background process. Default: SIGTERM, or SIGINT if the app handles SIGINT but not SIGTERM.',
    stopSignal,
  ),
  shutdownWithMessage: setting(
    "Send the message `'shutdown'` in place of the stop signal: the app gets it with `process.on('message', …)`.",
    v.boolean(),
    false,
  ),
  autorestart: setting('Start a process again when it ends.', v.boolean(), true),
  maxRestarts: setting(
    'Number of times in a row that a process may end within `minUptime`. Then the process counts as crashed, and Sluice restarts it every 15 s.',
    times,
    16,
  ),
  minUptime: setting('Time that a process must run for its start to count as successful.', duration, '1s'),
  restartDelay: setting(
    'Pause before the second restart in a row. The pause grows by half with each restart, up to 15 s.',
    duration,
    '100ms',
  ),
  restartBackoff: setting(
    'Let the pause grow. With `false`, Sluice waits for `restartDelay` before each restart, also before the first.',
    v.boolean(),
    true,
  ),
  stopExitCodes: setting('Exit statuses, 0 to 255, after which a process does not restart.', exitCodes, []),
  maxMemory: setting(
    'Limit of the resident memory of one process. Above the limit, Sluice replaces the process. A new worker starts before the old one ends.',
    memoryOfProcess,
  ),
  keepWarm: setting(
    'Time for which the workers of the release before keep running after a switch, so that a rollback takes milliseconds; 0 to end them when their requests are answered. See docs/rollback.md.',
    duration,
    '60s',
  ),
  watchTime: setting(
    'Time after a deploy in which Sluice compares the new release with the release before, and returns to the release before if the new one is worse; 0 for no comparison. See docs/rollback.md.',
    duration,
    '30s',
  ),
  watchLimits: optionalGroup({
    deaths: setting(
      'Number of deaths of workers that makes a release worse; 0 to ignore deaths. In an app with fewer workers, as many deaths as workers suffice.',
      count(0, 1000),
      2,
    ),
    blocked: setting(
      'Time for which the event loop of a worker may stand still; 0 for any time.',
      duration,
      '3s',
    ),
    responses: setting(
      'Smallest number of responses for which Sluice compares the share of errors (status 500 to 599); 0 to ignore errors.',
      count(0, 1_000_000),
      20,
    ),
    points: setting(
      'Percentage points by which the share of errors must exceed the share of the release before.',
      count(0, 100),
      5,
    ),
    times: setting(
      'Factor by which the share of errors must exceed the share of the release before.',
      count(1, 100),
      3,
    ),
  }),
  stuckTimeout: setting(
    'Time after which Sluice replaces a worker whose event loop does not run; 0 for never.',
    duration,
    '10s',
  ),
  cronRestart: setting(
    'Times to replace all workers, one after the other: a cron expression, or an object.',
    restartSchedule('Times to replace all workers.'),
  ),
  instanceVar: setting(
    'Variable with the number of a worker or background process: 0, 1 and so on.',
    variableName,
    'NODE_APP_INSTANCE',
  ),
  incrementVar: setting(
    'Variable to which Sluice adds the number of the worker. Not PORT, which all workers share.',
    variableName,
  ),
  pm2Variables: setting(
    'Set the variables that PM2 sets, such as `pm_id` and `name`. A configuration file of PM2 sets this setting to `true`.',
    v.boolean(),
    false,
  ),
};

/** Settings of one background process in place of those of the app. */
export const ofBackgroundProcess = {
  stopSignal: setting('Signal that ends the process. Default: that of the app.', stopSignal),
  shutdownWithMessage: setting(
    "Send the message `'shutdown'` in place of the stop signal. Default: as for the app.",
    v.boolean(),
  ),
  killTimeout: setting('Time between the stop signal and SIGKILL. Default: that of the app.', duration),
  maxMemory: setting(
    'Limit of the resident memory of one process; `false` for no limit. Default: that of the app.',
    v.union([memoryOfProcess, v.literal(false)], 'an amount of memory such as "300M", or false'),
  ),
  waitReady: setting(
    "In an app without workers, wait until the process calls `process.send('ready')`. Default: as for the app.",
    v.boolean(),
  ),
  autorestart: setting('Start the process again when it ends. Default: as for the app.', v.boolean()),
  maxRestarts: setting(
    'Number of times in a row that the process may end within `minUptime`. Default: that of the app.',
    times,
  ),
  minUptime: setting(
    'Time that the process must run for its start to count as successful. Default: that of the app.',
    duration,
  ),
  restartDelay: setting('Pause before the second restart in a row. Default: that of the app.', duration),
  restartBackoff: setting('Let the pause grow with each restart. Default: as for the app.', v.boolean()),
  stopExitCodes: setting(
    'Exit statuses after which the process does not restart. Default: those of the app.',
    exitCodes,
  ),
  cronRestart: setting(
    'Times to restart the process, also if it has ended for good: a cron expression, or an object.',
    restartSchedule('Times to restart the process.'),
  ),
  instanceVar: setting('Variable with the number of the process. Default: that of the app.', variableName),
  incrementVar: setting('Variable to which Sluice adds the number of the process.', variableName),
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
