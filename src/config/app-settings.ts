import { join } from 'node:path';
import * as v from 'valibot';
import { command, cron, hooks, processes } from './app/commands.ts';
import { domains } from './app/domains.ts';
import { environments } from './app/environments.ts';
import { health, warmup } from './app/health.ts';
import { branches, directory, root, shared } from './app/sources.ts';
import { assets, staticSite } from './app/static.ts';
import { limits, supervision } from './app/supervision.ts';
import { env } from './app/variables.ts';
import {
  count,
  duration,
  group,
  optionalGroup,
  record,
  schemaForEditors,
  setting,
  text,
} from './field-types.ts';
import { defaultEnvironment } from './paths.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';
import { isRecord, mergeLayers, parseLayers, type SettingsLayer } from './settings-layers.ts';

const build = optionalGroup({
  command: setting(
    'Script of package.json that builds the app; `false` for none. Default: `heroku-postbuild` or `build`, if it exists.',
    v.union(
      [v.pipe(v.string(), v.regex(/^[^\p{Cc}]+$/u)), v.literal(false)],
      'the name of a script, or false',
    ),
  ),
  prune: setting(
    'After the build, remove packages that only devDependencies need. Packages whose programs run later, such as in `start`, stay.',
    v.boolean(),
    true,
  ),
  ci: setting(
    'Set the variable `CI` for install and build. Some tools then treat warnings as errors.',
    v.boolean(),
    false,
  ),
  timeout: setting('Time limit of install, build and prune together.', duration, '15m'),
});

/** All settings but `environments`. */
const settings = {
  $schema: schemaForEditors,
  start: setting(
    'Command that starts the app, such as `node dist/server.js`. docs/start.md describes the forms and the default.',
    command('node dist/server.js'),
  ),
  static: staticSite,
  node: setting(
    'Version of Node.js, such as `22`, `>=20 <25` or `lts/*`. Default: what version files and package.json ask for, else the version of Sluice. See docs/node.md.',
    text(/^[^\p{Cc}]{1,100}$/u, 'a version or a range, such as "22"'),
  ),
  port: setting(
    'Port of the app if its code does not read PORT. Selects one of several calls of `listen`.',
    count(1, 65535),
  ),
  workers: setting(
    'Number of worker processes: a number, `max` (one per core), a negative number (subtracted from the number of cores), `0` for an app without a port (see docs/processes.md), or `auto`: one per core, but 1 if a dependency or the code of the app keeps state inside the process.',
    v.union([count(-64, 64), v.picklist(['auto', 'max'])], 'a whole number, "auto" or "max"'),
    'auto',
  ),
  affinity: setting(
    'With `client`, Sluice sends all connections of a client address to the same worker: for an app that keeps sessions in memory. See docs/workers.md.',
    v.picklist(['client'], '"client"'),
  ),
  build,
  hooks,
  root,
  directory,
  branches,
  health,
  warmup,
  bootTimeout: setting('Time limit for a worker to listen and to be healthy.', duration, '30s'),
  settleTime: setting(
    'Time that the first worker of a new release must run after its health check, before the release goes live. Each other worker must run for a quarter of this time. In an app without workers, time that each process must run.',
    duration,
    '1s',
  ),
  drainTimeout: setting('Time limit for a retired worker to finish its requests.', duration, '30s'),
  waitReady: setting(
    "Wait until the app calls `process.send('ready')`, in addition to the health check.",
    v.boolean(),
    false,
  ),
  overlap: setting(
    'Start new workers before the old ones end. With `false`, the old workers end first, and clients wait until the new ones are healthy: for an app with a UDP port, or a file that only one process may open. See docs/workers.md.',
    v.boolean(),
    true,
  ),
  keepReleases: setting('Number of past live releases to keep for rollback.', count(2, 1000), 5),
  shared,
  assets,
  domains,
  ...supervision,
  ...limits,
  logOverflow: setting(
    'Treatment of output that arrives faster than Sluice can write to the log. `wait` lets the process wait. `drop` drops output and logs the number of dropped writes.',
    v.picklist(['wait', 'drop'], '"wait" or "drop"'),
    'wait',
  ),
  env,
  processes,
  cron,
};

const { $schema: _ofFile, root: _ofFiles, directory: _ofRelease, ...ofEnvironment } = settings;

const environmentsSchema = environments(ofEnvironment);

/**
 * Settings of an app, in `sluice.json` or under `"sluice"` in package.json. The source of defaults, checks, the JSON schema
 * (config/app.schema.json) and docs/settings.md.
 */
export const appSettingsSchema = v.pipe(
  group({ ...settings, environments: environmentsSchema }),
  v.transform(({ environments = {}, branches: common, ...rest }) => {
    const own = Object.entries(environments).flatMap(([name, { branches }]) =>
      branches === undefined ? [] : [[name, branches] as const],
    );
    const branches = own.length === 0 ? common : { ...common, ...Object.fromEntries(own) };
    return { ...rest, ...(branches && { branches }) };
  }),
  v.forward(
    v.check(
      ({ branches = {} }) => isDistinct(Object.values(branches).flat()),
      'branches that each belong to one environment',
    ),
    ['branches'],
  ),
);

export type AppSettings = v.InferOutput<typeof appSettingsSchema>;
export type HealthSettings = AppSettings['health'];
export type WatchLimits = AppSettings['watchLimits'];

function isDistinct(names: string[]): boolean {
  return new Set(names).size === names.length;
}

/** Returns the parsed content of a file at the top of a tree; undefined if the file does not exist. */
type ReadTop = (name: string) => Promise<unknown>;

/** Returns a function that reads files of a directory. */
export function topOf(directory: string): ReadTop {
  return (name) => readJsonSettings(join(directory, name), name, directory);
}

/**
 * Returns the settings of an app: `sluice.json`, else `"sluice"` in package.json, else the defaults.
 * @throws AppError `invalid_settings`
 */
export async function loadAppSettings(read: ReadTop): Promise<AppSettings> {
  return parseLayers(appSettingsSchema, mergeLayers([await readAppSettings(read)]));
}

/**
 * Returns the settings of an app as written, without defaults and checks; what is written for an environment comes first.
 * @throws AppError `invalid_settings`
 */
export async function readLayers(read: ReadTop, environment: string): Promise<SettingsLayer[]> {
  const written = await readAppSettings(read);
  const { value, source } = written;
  // A host name leads to one environment.
  const { domains: _ofProduction, ...ofAll } = value;
  const common = environment === defaultEnvironment ? written : { value: ofAll, source };
  const own = isRecord(value['environments']) ? value['environments'] : {};
  const changes = Object.hasOwn(own, environment) ? own[environment] : undefined;
  // The check of all settings reports the faults of an environment.
  if (!isRecord(changes) || !v.is(environmentsSchema, { [environment]: changes })) return [common];
  const { branches: _, ...overriding } = changes;
  return [{ value: overriding, source: `environments.${environment} in ${source}` }, common];
}

/** Returns the settings of an app as written, without defaults and checks. @throws AppError `invalid_settings` */
export async function readAppSettings(
  read: ReadTop,
): Promise<{ value: Record<string, unknown>; source: string }> {
  const own = await read('sluice.json');
  const manifest = own === undefined ? await read('package.json') : undefined;
  const source = own === undefined ? '"sluice" in package.json' : 'sluice.json';
  const value = own ?? (manifest as { sluice?: unknown } | null | undefined)?.sluice ?? {};
  return { value: parseSettings(record(v.string(), v.unknown()), value, source), source };
}
