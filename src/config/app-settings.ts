import { join } from 'node:path';
import * as v from 'valibot';
import { cron, hooks, processes } from './app/commands.ts';
import { health } from './app/health.ts';
import { branches, root, shared } from './app/sources.ts';
import { limits, supervision } from './app/supervision.ts';
import { count, duration } from './field-types.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

export const build = v.strictObject({
  command: v.optional(
    v.pipe(
      v.union(
        [v.pipe(v.string(), v.regex(/^[^\p{Cc}]+$/u)), v.literal(false)],
        'the name of a script, or false',
      ),
      v.description(
        'The script of package.json that builds; `false` for none. Without it: `build`, if there is one.',
      ),
    ),
  ),
  timeout: v.optional(duration('How long install, build and prune may take together.'), '15m'),
});

export const logOverflow = v.optional(
  v.pipe(
    v.picklist(['wait', 'drop'], '"wait" or "drop"'),
    v.description(
      'What becomes of a process that prints faster than its log can be written: it waits, or what it prints is dropped, and how many times is in the log.',
    ),
  ),
  'wait',
);

/** Signals that a process can handle. SIGUSR1 starts the debugger of Node.js. */
const stopSignals = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR2'] as const;

/**
 * What an app may say about itself, in `sluice.json` or under `"sluice"` in package.json. Defaults, checks, the
 * published JSON schema (config/app.schema.json) and docs/settings.md all come from here.
 */
export const appSettingsSchema = v.strictObject({
  $schema: v.optional(v.pipe(v.string(), v.description('For editors; ignored.'))),
  start: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^(?=\s*\S)[^\p{Cc}]+$/u, 'a command in one line, such as "node dist/server.js"'),
      v.description(
        'The command that starts the app, such as `node dist/server.js`. Without it: see docs/start.md.',
      ),
    ),
  ),
  port: v.optional(
    count(
      'The port that the code listens on where it does not look at PORT. Tells which of several listens is the app.',
      1,
      65535,
    ),
  ),
  workers: v.optional(
    v.pipe(
      v.union(
        [v.pipe(v.number(), v.integer(), v.minValue(-64), v.maxValue(64)), v.picklist(['auto', 'max'])],
        'a whole number, "auto" or "max"',
      ),
      v.description(
        'Worker processes: a number, `max` (one a core), a negative number (that many fewer than cores), or `auto`: one a core, but 1 where the dependencies keep state inside the process.',
      ),
    ),
    'auto',
  ),
  build: v.optional(build, {}),
  hooks: v.optional(hooks, {}),
  root: v.optional(root),
  branches: v.optional(branches),
  health: v.optional(health, {}),
  bootTimeout: v.optional(duration('How long a worker may take until it listens and is healthy.'), '30s'),
  settleTime: v.optional(
    duration('How long a healthy worker must go on living before it gets traffic.'),
    '1s',
  ),
  drainTimeout: v.optional(
    duration('How long a retired worker may go on with what it has in flight.'),
    '30s',
  ),
  killTimeout: v.optional(duration('Time between the stop signal and SIGKILL.'), '5s'),
  stopSignal: v.optional(
    v.pipe(
      v.picklist(stopSignals, `one of ${stopSignals.join(', ')}`),
      v.description(
        'Signal that ends a worker or background process. Default: SIGTERM, or SIGINT if the app handles SIGINT but not SIGTERM.',
      ),
    ),
  ),
  waitReady: v.optional(
    v.pipe(
      v.boolean(),
      v.description("The app says `process.send('ready')` when it is; listening alone is not enough."),
    ),
    false,
  ),
  keepReleases: v.optional(count('How many releases that were live are kept for rollback.', 2, 1000), 5),
  shared,
  ...supervision,
  ...limits,
  logOverflow,
  processes,
  cron,
});

export type AppSettings = v.InferOutput<typeof appSettingsSchema>;
export type HealthSettings = AppSettings['health'];

/** Gives the parsed content of a file at the top of a tree; undefined where there is none. */
type ReadTop = (name: string) => Promise<unknown>;

/** Reads from a directory. */
export function topOf(directory: string): ReadTop {
  return (name) => readJsonSettings(join(directory, name), name, directory);
}

/**
 * The app's own settings from its tree: `sluice.json`, else `"sluice"` in package.json, else the defaults.
 * @throws AppError `invalid_settings`
 */
export async function loadAppSettings(read: ReadTop): Promise<AppSettings> {
  const { value, source } = await readAppSettings(read);
  return parseSettings(appSettingsSchema, value, source);
}

/** The same as they are written, without defaults and checks, and where. @throws AppError `invalid_settings` */
export async function readAppSettings(read: ReadTop): Promise<{ value: unknown; source: string }> {
  const own = await read('sluice.json');
  if (own !== undefined) return { value: own, source: 'sluice.json' };
  const manifest = await read('package.json');
  const embedded = (manifest as { sluice?: unknown } | null | undefined)?.sluice;
  return { value: embedded ?? {}, source: '"sluice" in package.json' };
}
