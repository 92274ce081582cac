import { reservedNames } from '../../config/app/variables.ts';
import type { Notice } from '../../protocol/runner.ts';
import { counted } from '../../system/text/format.ts';
import { processNames } from '../process-names.ts';
import { type Command, commandOf } from './command.ts';
import { invalidFile } from './evaluation.ts';
import { numberOf, type Pm2App, readApp, timeOf } from './options.ts';
import { inRelease, type Release } from './places.ts';
import { supervisionOf, withoutOption } from './supervision.ts';

/** Choice of what to read from the value of a file of PM2. */
export interface Selection {
  /** name of the file, for messages */
  file: string;
  /** name of the environment */
  environment: string;
  /** value of the option `--env` of a command that names the file */
  env?: string | undefined;
  /** names of the apps that such a command starts; undefined for all */
  only?: string[] | undefined;
  /** variables of the app */
  variables?: Record<string, string> | undefined;
  /** port that Sluice has assigned to the app */
  assignedPort?: number | undefined;
  /** name of the app that serves requests, or null for none; undefined if only the file can say it */
  web?: string | null | undefined;
}

/** Settings of a file of PM2, in the words of sluice.json. */
export interface Pm2Settings {
  value: Record<string, unknown>;
  notices: Notice[];
  /** directories of the apps */
  directories: string[];
}

/** App with what Sluice makes of it. */
interface Entry {
  app: Pm2App;
  name: string;
  command: Command;
  env: Record<string, string>;
  port: number | undefined;
}

/** Limit of the apps in a file. */
const maxApps = 128;

/** Limit of paths and names, in characters. */
const maxText = 4096;

function isLong(option: unknown): boolean {
  return typeof option === 'string' && option.length > maxText;
}

/**
 * Translates the value of a file of PM2.
 * @throws AppError `invalid_pm2_file`
 */
export async function pm2Settings(
  exported: object,
  selection: Selection,
  release: Release,
): Promise<Pm2Settings> {
  const invalid = (why: string, hint?: string) => invalidFile(selection.file, why, hint);
  const { apps, deploy, others } = appsOf(exported);
  if (apps.length > maxApps) throw invalid(`has ${apps.length} apps, and Sluice starts at most ${maxApps}`);
  const entries: Entry[] = [];
  for (const [at, each] of apps.entries()) {
    if (typeof each !== 'object' || each === null || Array.isArray(each))
      throw invalid(`has an app that is not an object`);
    const app = readApp(each as Record<string, unknown>);
    const long = ['name', 'script', 'cwd', 'interpreter'].find((option) => isLong(app.options[option]));
    if (long !== undefined) throw invalid(`has "${long}" of more than ${maxText} characters`);
    const name = nameOf(app, at);
    if (selection.only !== undefined && !selection.only.includes(name)) continue;
    const command = await commandOf(app, release, invalid);
    const variables = variablesOf(app, deploy, selection);
    const { PORT: port, ...env } = variables;
    app.ignored.push(
      ...Object.keys(env)
        .filter((key) => !isVariable(key))
        .map((key) => `env.${key}`),
    );
    entries.push({
      ...{ app, name, command },
      port: portNumber(app.options['port'] ?? port),
      env: textsOf(env, release, selection.variables),
    });
  }
  if (entries.length === 0) throw invalid(noApps(selection));
  const web =
    selection.web === undefined
      ? await webOf(entries, release)
      : entries.find(({ name }) => name === selection.web);
  const background = entries.filter((entry) => entry !== web);
  const processes = processesOf(background, web, release.cores);
  const ofWeb: Record<string, unknown> =
    web === undefined ? { workers: 0 } : await settingsOfWeb(web, release);
  const value = { ...ofWeb, stopSignal: 'SIGINT', pm2Variables: true, ...processes };
  const isIgnored = !('port' in ofWeb) && web?.port !== selection.assignedPort;
  const ignoredPort = isIgnored ? web?.port : undefined;
  const notices = noticesOf(selection, { entries, web, background, others, ignoredPort });
  return { value, notices, directories: [...new Set(entries.map(({ command }) => command.directory))] };
}

/** Returns true if a value has an app with a script. */
export function hasApps(exported: object): boolean {
  return appsOf(exported).apps.some(
    (app) => typeof app === 'object' && app !== null && readApp({ ...app }).options['script'] !== undefined,
  );
}

/** Returns the settings for options of a command such as `pm2 start server.js -i 2`. */
export function settingsOfOptions(options: Record<string, unknown>): Record<string, unknown> {
  const app: Pm2App = { options, environments: new Map(), ignored: [] };
  const hasInstances = options['instances'] !== undefined;
  return { ...(hasInstances && { workers: instancesOf(app) }), ...startupOf(app), ...supervisionOf(app) };
}

/** Returns the apps in a value, in any of the forms that PM2 accepts. */
function appsOf(exported: object): { apps: unknown[]; deploy: Record<string, unknown>; others: string[] } {
  const { apps, pm2, deploy } = exported as Record<string, unknown>;
  const list = apps ?? pm2;
  const others =
    list === undefined ? [] : Object.keys(exported).filter((name) => !['apps', 'pm2'].includes(name));
  return {
    apps: [list ?? exported].flat(),
    deploy: typeof deploy === 'object' && deploy !== null ? { ...deploy } : {},
    others: others.filter((name) => !['name', 'version', 'private'].includes(name)),
  };
}

function noApps({ only }: Selection): string {
  return only === undefined ? 'has no apps' : `has no app with the name ${only.join(' or ')}`;
}

/** Returns the name of an app: PM2 takes the one of the script. */
function nameOf({ options }: Pm2App, at: number): string {
  const { name, script } = options;
  if (typeof name === 'string' || typeof name === 'number') return String(name);
  const file =
    typeof script === 'string'
      ? script
          .split(' ')[0]
          ?.split('/')
          .at(-1)
          ?.replace(/\.\w+$/, '')
      : undefined;
  return file || `app-${at}`;
}

/** Names that files of PM2 often use for an environment, beside its own name. */
const otherNames: Record<string, string[]> = { production: ['prod'], staging: ['stage'] };

/** Returns the variables of an app as they are written: `env_…` takes precedence over `env`, and `env` over the section `deploy`. */
function variablesOf(
  { options, environments }: Pm2App,
  deploy: Record<string, unknown>,
  { environment, env }: Selection,
): Record<string, unknown> {
  // A command that names another environment is most often the one for production.
  const own = [environment, ...(otherNames[environment] ?? [])];
  const order =
    environment === 'production' && env !== undefined ? [env, ...own] : [...own, ...(env ? [env] : [])];
  const chosen = order.find((name) => environments.has(name));
  const ofDeploy = chosen === undefined ? undefined : (deploy[chosen] as { env?: unknown } | null)?.env;
  return {
    ...objectOf(ofDeploy),
    ...objectOf(options['env']),
    ...objectOf(chosen && environments.get(chosen)),
  };
}

function objectOf(value: unknown): object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

/** Returns true for the name of a variable that an app may set. */
function isVariable(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]{0,199}$/.test(name) && !/^SLUICE_/.test(name) && !reservedNames.has(name);
}

/**
 * Returns variables as texts, as PM2 passes them on.
 * @param own variables of the app: a file that passes one on has no variable of its own
 */
function textsOf(
  variables: Record<string, unknown>,
  release: Release,
  own: Record<string, string> = {},
): Record<string, string> {
  const entries = Object.entries(variables).flatMap(([name, value]): [string, string][] => {
    const text = inRelease(typeof value === 'object' ? JSON.stringify(value) : String(value), release);
    return isVariable(name) && own[name] !== text ? [[name, text]] : [];
  });
  return Object.fromEntries(entries);
}

/** Returns the app that serves requests; undefined if none does. */
async function webOf(entries: Entry[], release: Release): Promise<Entry | undefined> {
  const [first, ...others] = entries;
  if (others.length === 0) return first;
  const clustered = entries.filter(isCluster);
  const found =
    entries.find(({ port }) => port !== undefined) ??
    entries.find(({ name }) => name.toLowerCase() === 'web') ??
    (clustered.length === 1 ? clustered[0] : undefined);
  if (found !== undefined) return found;
  const listening = await Promise.all(entries.map(({ command }) => release.listens(command.text)));
  return (
    entries.find((_, at) => listening[at] === true) ?? entries.find((_, at) => listening[at] === undefined)
  );
}

/** Returns true for an app that PM2 starts in cluster mode. */
function isCluster({ app: { options } }: Entry): boolean {
  const { exec_mode: mode, instances, interpreter } = options;
  if (typeof mode === 'string') return mode.startsWith('cluster');
  return instances !== undefined && (interpreter === undefined || /node$/.test(String(interpreter)));
}

/** Returns a port; undefined for other values. */
function portNumber(value: unknown): number | undefined {
  const port = numberOf(value);
  return port !== undefined && Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : undefined;
}

/** Returns the settings of the app that serves requests. */
async function settingsOfWeb(web: Entry, release: Release): Promise<Record<string, unknown>> {
  const { app, command, env } = web;
  const site = siteOf(app);
  return {
    ...(site === undefined ? { start: command.text } : { static: site }),
    workers: instancesOf(app),
    ...(command.node !== undefined && { node: command.node }),
    ...(Object.keys(env).length > 0 && { env }),
    ...startupOf(app),
    ...(await portOf(web, release)),
    ...supervisionOf(app),
  };
}

function startupOf({ options }: Pm2App): Record<string, unknown> {
  const listenTimeout = timeOf(options['listen_timeout']);
  return {
    ...(options['wait_ready'] === true && { waitReady: true }),
    ...(listenTimeout && { bootTimeout: listenTimeout }),
  };
}

/** Returns the static site that PM2 serves itself for the script `serve`. */
function siteOf({ options }: Pm2App) {
  const variables = objectOf(options['env']) as Record<string, unknown>;
  const directory = variables['PM2_SERVE_PATH'];
  if (options['script'] !== 'serve' || typeof directory !== 'string') return undefined;
  return { directory, ...(String(variables['PM2_SERVE_SPA']) === 'true' && { spa: true }) };
}

/** Returns the port of an app whose code has a fixed port. */
async function portOf({ port, command }: Entry, release: Release) {
  if (port === undefined || !(await release.hasFixedPort(command.text, port))) return {};
  return { port };
}

/** Returns the number of instances as the setting `workers`. */
function instancesOf({ options }: Pm2App): number | 'max' {
  const { instances } = options;
  if (instances === undefined) return 1;
  // PM2 reads other texts as 0.
  const number = Math.trunc(numberOf(instances) ?? 0);
  return number === 0 ? 'max' : Math.max(-64, Math.min(number, 64));
}

/** Returns the setting `processes`. */
function processesOf(background: Entry[], web: Entry | undefined, cores: number): Record<string, unknown> {
  if (background.length === 0) return {};
  const names = processNames(background.map(({ name }) => name));
  const ofWeb = web === undefined ? {} : supervisionOf(web.app);
  const entries = background.map(({ app, command, env, port }, at) => {
    const own = supervisionOf(app);
    const reset = Object.keys(ofWeb).filter((name) => own[name] === undefined && name in withoutOption);
    const count = app.options['autostart'] === false ? 0 : countOf(instancesOf(app), cores);
    // NODE_ENV is the mode of the whole release.
    const others = Object.keys(web?.env ?? {}).filter((name) => name !== 'NODE_ENV');
    const variables = {
      ...Object.fromEntries(others.map((name) => [name, null])),
      ...env,
      ...(port !== undefined && { PORT: String(port) }),
    };
    const settings = {
      command: command.text,
      ...(count !== 1 && { count }),
      ...(Object.keys(variables).length > 0 && { env: variables }),
      ...Object.fromEntries(reset.map((name) => [name, withoutOption[name]])),
      ...own,
    };
    return [names[at], settings];
  });
  return { processes: Object.fromEntries(entries) };
}

function countOf(instances: number | 'max', cores: number): number {
  const count = instances === 'max' ? cores : instances > 0 ? instances : Math.max(1, cores + instances);
  return Math.min(count, 64);
}

interface Found {
  entries: Entry[];
  web: Entry | undefined;
  background: Entry[];
  others: string[];
  /** port that the file gives to `web`, and that `web` does not get */
  ignoredPort: number | undefined;
}

function noticesOf({ file }: Selection, { entries, web, background, others, ignoredPort }: Found): Notice[] {
  const ignored = [...new Set([...entries.flatMap(({ app }) => app.ignored), ...others])];
  const moved = [...new Set(entries.flatMap(({ command }) => command.moved))];
  const ports = background
    .filter(({ port }) => port !== undefined)
    .map(({ name, port }) => `${name} (${port})`);
  const notices: Notice[] = [];
  if (ignored.length > 0) {
    notices.push({
      code: 'pm2_options_ignored',
      message: `${counted(ignored.length, 'option')} of ${file} ${ignored.length === 1 ? 'has' : 'have'} no meaning for Sluice: ${ignored.join(', ')}`,
      hint: 'docs/pm2-files.md lists the options that Sluice reads.',
    });
  }
  if (moved.length > 0) {
    notices.push({
      code: 'pm2_path_changed',
      message: `${file} has paths of another server. Sluice uses ${moved.join(', ')}`,
      hint: 'Write paths that are relative to the file.',
    });
  }
  if (ports.length > 0 && web !== undefined) {
    notices.push({
      code: 'pm2_port_of_process',
      message: `${web.name} of ${file} gets the requests. Other apps listen on the ports that the file gives them: ${ports.join(', ')}`,
      hint: 'To serve another app on a port of Sluice with its releases and health checks, deploy it as an app of its own. Choose its files with "root" or its command with "start" in sluice.json.',
    });
  }
  if (ignoredPort !== undefined) {
    notices.push({
      code: 'pm2_port_ignored',
      message: `Sluice ignores the port ${ignoredPort} of ${file}, because Sluice assigns the port and sets PORT`,
      hint: '`sluice status` shows the address. A proxy of your own must use that address; `sluice domains add` sets up nginx.',
    });
  }
  return notices;
}
