import type { Release } from '../build/pm2/places.ts';
import { hasFixedPort } from '../build/pm2/read.ts';
import { pm2Settings } from '../build/pm2/settings.ts';
import { readProject } from '../build/start-command/project.ts';
import { appSettingsSchema } from '../config/app-settings.ts';
import { parseSettings } from '../config/settings-file.ts';
import type { Pm2App } from './pm2-apps.ts';
import { type Project, within } from './project.ts';

/** Settings in the vocabulary of sluice.json. */
export type Settings = Record<string, unknown>;

/** Options of a process that mean the same in a file of PM2. */
const sameOptions = [
  ...(['name', 'args', 'node_args', 'instances', 'wait_ready', 'listen_timeout', 'kill_timeout'] as const),
  ...(['shutdown_with_message', 'max_memory_restart', 'autorestart', 'max_restarts', 'min_uptime'] as const),
  ...(['restart_delay', 'exp_backoff_restart_delay', 'stop_exit_codes', 'cron_restart'] as const),
  ...(['instance_var', 'increment_var', 'source_map_support'] as const),
];

/** Apps of PM2 that become one app. */
interface Running {
  /** app that listens; undefined if none does */
  web: Pm2App | undefined;
  background: readonly Pm2App[];
  /** port of `web`; undefined if it is not known */
  port: number | undefined;
  variables: Record<string, string>;
}

/**
 * Returns the settings of apps that PM2 runs, as if a file of PM2 had their options.
 * @throws AppError `invalid_pm2_file`
 */
export async function settingsOf(
  project: Project,
  { web, background: others, port, variables }: Running,
): Promise<Settings> {
  const apps = [...(web ? [web] : []), ...others];
  const selection = { file: 'the list of PM2', environment: 'production', web: web?.name ?? null };
  const options = { apps: apps.map((app) => optionsOf(project, app)) };
  const { value } = await pm2Settings(options, selection, releaseOf(project));
  const directory = within(project.root, project.directory);
  return {
    ...(directory !== '.' && { directory }),
    ...withUnits(value),
    ...(port !== undefined && (await isFixed(project, value['start'], port, variables)) && { port }),
    ...(value['node'] === undefined && nodeOf(project, web ?? others[0])),
  };
}

/** Returns true if an app listens on a port that it does not read from PORT. */
async function isFixed(
  { root, directory }: Project,
  start: unknown,
  port: number,
  variables: Record<string, string>,
): Promise<boolean> {
  if (typeof start !== 'string') return false;
  const settings = parseSettings(appSettingsSchema, {}, 'no settings');
  const project = await readProject(root, settings, true, within(root, directory));
  return hasFixedPort(project, start, port, Object.values(variables).includes(String(port)));
}

/**
 * Returns the settings of an app whose other settings are in a file of its repository.
 * @param running settings of what PM2 runs
 */
export function settingsBesideFile(project: Project, web: Pm2App | undefined, running: Settings): Settings {
  const directory = within(project.root, project.directory);
  const { port } = running;
  return {
    ...(directory !== '.' && { directory }),
    ...nodeOf(project, web),
    ...(port !== undefined && { port }),
  };
}

/** Returns the options of an app as a file of PM2 has them. The variables are those of the app in Sluice. */
function optionsOf({ root }: Project, app: Pm2App): Record<string, unknown> {
  const { pm_exec_path: script, pm_cwd: cwd, exec_interpreter: interpreter, isCluster } = app;
  return {
    ...Object.fromEntries(sameOptions.map((option) => [option, app[option]])),
    ...{ script, interpreter, exec_mode: isCluster ? 'cluster' : 'fork' },
    // Elsewhere, the app ran in a directory that no release has.
    ...(within(root, cwd) !== undefined && { cwd }),
  };
}

function releaseOf({ root, directory }: Project): Release {
  return {
    ...{ app: within(root, directory) ?? '.', base: '.', evaluatedIn: directory, runsIn: directory },
    // A cluster has as many workers as its list has processes.
    ...{ mayBuild: false, cores: 1 },
    // Paths are those of this machine, so no other place is looked for.
    kindOf: async () => undefined,
    listens: async () => undefined,
    // PORT, which the app gets, is the port of Sluice.
    hasFixedPort: async () => false,
  };
}

/** Returns the major version of Node.js that PM2 runs an app with, unless a file of the project says a version. */
function nodeOf({ saysNode }: Project, app: Pm2App | undefined): Settings {
  const major = app?.node_version?.split('.')[0];
  return major === undefined || saysNode ? {} : { node: major };
}

/** Returns settings with amounts of memory as people write them. */
function withUnits(value: unknown): Settings {
  const text = JSON.stringify(value, (name, each: unknown) =>
    name === 'maxMemory' && typeof each === 'number' ? `${Math.round(each / 1024 ** 2)}M` : each,
  );
  return JSON.parse(text) as Settings;
}

/** Returns the commands in settings: that of the app, and those of its background processes by name. */
export function commandsIn(settings: Settings): {
  start: string | undefined;
  processes: Record<string, string>;
} {
  const processes = (settings['processes'] ?? {}) as Record<string, { command: string }>;
  const start = settings['start'];
  return {
    start: typeof start === 'string' ? start : undefined,
    processes: Object.fromEntries(Object.entries(processes).map(([name, { command }]) => [name, command])),
  };
}
