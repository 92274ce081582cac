import { basename, dirname, relative, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { quote } from '../build/start-command/quote.ts';
import { validName } from './app-name.ts';
import type { Pm2App } from './pm2-apps.ts';
import { type Project, within } from './project.ts';

/** Settings in the vocabulary of sluice.json. */
export type Settings = Record<string, unknown>;

/** Settings of a process, by the options of PM2's list. Its units are ms and bytes; numbers of 0 and below stand for no value. */
const settingsOfProcess: { setting: string; of: (app: Pm2App) => unknown }[] = [
  { setting: 'killTimeout', of: ({ kill_timeout: value }) => positive(value) },
  { setting: 'shutdownWithMessage', of: ({ shutdown_with_message: value }) => value || undefined },
  { setting: 'autorestart', of: ({ autorestart: value }) => (value === false ? false : undefined) },
  { setting: 'maxRestarts', of: ({ max_restarts: value }) => value },
  { setting: 'minUptime', of: ({ min_uptime: value }) => positive(value) },
  {
    setting: 'restartDelay',
    of: ({ restart_delay: fixed, exp_backoff_restart_delay: growing }) =>
      positive(fixed) ?? positive(growing),
  },
  {
    setting: 'restartBackoff',
    of: ({ restart_delay: fixed }) => (positive(fixed) === undefined ? undefined : false),
  },
  {
    setting: 'stopExitCodes',
    of: ({ stop_exit_codes: codes = [] }) => (codes.length > 0 ? codes : undefined),
  },
  { setting: 'maxMemory', of: ({ max_memory_restart: bytes }) => megabytes(positive(bytes)) },
  {
    setting: 'cronRestart',
    of: ({ cron_restart: value = '' }) => (['', '0', 'null', 'false'].includes(value) ? undefined : value),
  },
  {
    setting: 'instanceVar',
    of: ({ instance_var: name = '' }) => (['', 'NODE_APP_INSTANCE'].includes(name) ? undefined : name),
  },
  {
    setting: 'incrementVar',
    of: ({ increment_var: name = '' }) => (['', 'PORT'].includes(name) ? undefined : name),
  },
];

function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}

/** Returns an amount of memory; Node.js alone takes 32 MB. */
function megabytes(bytes: number | undefined): string | undefined {
  return bytes === undefined ? undefined : `${Math.max(32, Math.round(bytes / 1024 ** 2))}M`;
}

function processSettings(app: Pm2App): Settings {
  const values = settingsOfProcess.map(({ setting, of }) => [setting, of(app)] as const);
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

/**
 * Returns the settings of an app that PM2 runs, in the vocabulary of sluice.json.
 * @param web app that listens; undefined if none does
 * @param others apps that become background processes
 */
export function settingsOf(project: Project, web: Pm2App | undefined, others: readonly Pm2App[]): Settings {
  const directory = within(project.root, project.directory);
  const ofWeb = web === undefined ? {} : processSettings(web);
  const taken = new Set(['web', 'cron']);
  const processes = Object.fromEntries(
    others.map((app) => {
      const name = validName(app.name, taken);
      taken.add(name);
      return [name, processOf(project, app, ofWeb)];
    }),
  );
  return {
    ...(directory !== '.' && { directory }),
    ...(web === undefined
      ? { workers: 0 }
      : { start: commandOf(project, web), workers: Math.min(64, web.instances) }),
    ...nodeOf(project, web ?? others[0]),
    // PM2 ends processes with SIGINT.
    stopSignal: 'SIGINT',
    pm2Variables: true,
    ...(web?.wait_ready && { waitReady: true }),
    ...(positive(web?.listen_timeout) !== undefined && { bootTimeout: web?.listen_timeout }),
    ...ofWeb,
    ...(others.length > 0 && { processes }),
  };
}

/** Returns a background process: its command, and the settings that differ from those of the app, which are its defaults. */
function processOf(project: Project, app: Pm2App, ofWeb: Settings): unknown {
  const command = commandOf(project, app);
  const own = Object.entries(processSettings(app)).filter(
    ([name, value]) => !isDeepStrictEqual(value, ofWeb[name]),
  );
  const settings = {
    ...(app.instances !== 1 && { count: Math.min(64, app.instances) }),
    ...(ofWeb['maxMemory'] !== undefined && { maxMemory: false }),
    ...Object.fromEntries(own),
  };
  return Object.keys(settings).length === 0 ? command : { command, ...settings };
}

/** Returns the settings of an app whose other settings are in a file of its repository. */
export function settingsBesideFile(project: Project, web: Pm2App | undefined): Settings {
  const directory = within(project.root, project.directory);
  return { ...(directory !== '.' && { directory }), ...nodeOf(project, web) };
}

/** Returns the major version of Node.js that PM2 runs an app with, unless a file of the project says a version. */
function nodeOf({ saysNode }: Project, app: Pm2App | undefined): Settings {
  const major = app?.node_version?.split('.')[0];
  return major === undefined || saysNode ? {} : { node: major };
}

/** Returns the command of an app, for a shell in the directory of the project. */
export function commandOf({ directory }: Project, app: Pm2App): string {
  const { pm_exec_path: script, pm_cwd: cwd, args = [], node_args: nodeArgs = [], exec_interpreter } = app;
  const below = within(directory, cwd) ?? '.';
  const isInside = within(directory, script) !== undefined;
  const interpreter = basename(exec_interpreter ?? 'node').replace(/@.*$/, '');
  const file = relative(resolve(directory, below), script);
  // Programs of the system and of packages are on the PATH of a release, too.
  const isOnPath = !isInside || basename(dirname(script)) === '.bin';
  const start = interpreter === 'none' ? [`./${file}`] : [interpreter, ...nodeArgs, file];
  const words = isOnPath ? [basename(script)] : start;
  const command = [...words, ...args].map(quote).join(' ');
  return below === '.' ? command : `cd ${quote(below)} && ${command}`;
}
