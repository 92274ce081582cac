import { numberOf, type Pm2App, sizeOf, timeOf } from './options.ts';

/** Returns the options that a background process can have, too. */
export function supervisionOf({ options }: Pm2App): Record<string, unknown> {
  const { stop_exit_codes: codes, cron_restart: cron, instance_var: instance } = options;
  const delay = timeOf(options['restart_delay']) || undefined;
  const growing = timeOf(options['exp_backoff_restart_delay']) || undefined;
  const increment = options['increment_var'];
  const values = {
    killTimeout: timeOf(options['kill_timeout']),
    shutdownWithMessage: options['shutdown_with_message'] === true || undefined,
    maxMemory: memoryOf(options['max_memory_restart']),
    autorestart: options['autorestart'] === false ? false : undefined,
    maxRestarts: limited(numberOf(options['max_restarts']), 1000),
    minUptime: timeOf(options['min_uptime']),
    restartDelay: growing ?? delay,
    restartBackoff: growing === undefined && delay !== undefined ? false : undefined,
    stopExitCodes: codes === undefined ? undefined : [codes].flat().flatMap(statusOf),
    cronRestart: typeof cron === 'string' && cron !== '0' ? cron : undefined,
    instanceVar: typeof instance === 'string' && instance !== defaultInstanceVar ? instance : undefined,
    incrementVar: typeof increment === 'string' ? increment : undefined,
  };
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** Returns an exit status; none for a number that no process can end with. */
function statusOf(code: unknown): number[] {
  const status = numberOf(code);
  return status !== undefined && Number.isInteger(status) && status >= 0 && status <= 255 ? [status] : [];
}

const defaultInstanceVar = 'NODE_APP_INSTANCE';

function limited(value: number | undefined, most: number): number | undefined {
  return value === undefined ? undefined : Math.max(0, Math.min(Math.trunc(value), most));
}

/** Smallest limit of the memory of a process that Sluice accepts, in bytes. */
const leastMemory = 32 * 1024 ** 2;

function memoryOf(option: unknown): number | undefined {
  const size = sizeOf(option);
  return size === undefined ? undefined : Math.max(size, leastMemory);
}

/** Values of settings for a process without an option that the app which serves requests has: PM2's apps share none. */
export const withoutOption: Record<string, unknown> = {
  killTimeout: '5s',
  shutdownWithMessage: false,
  maxMemory: false,
  autorestart: true,
  maxRestarts: 16,
  minUptime: '1s',
  restartDelay: '100ms',
  restartBackoff: true,
  stopExitCodes: [],
  instanceVar: defaultInstanceVar,
};
