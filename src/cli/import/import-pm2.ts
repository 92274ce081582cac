import { homedir, userInfo } from 'node:os';
import { text as readAll } from 'node:stream/consumers';
import type { AppStatus } from '../../apps/status.ts';
import { defaultEnvironment, type EnvironmentId } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { Nginx } from '../../import/nginx.ts';
import { type PlannedApp, planImport } from '../../import/plan.ts';
import { appsOf, type Pm2App } from '../../import/pm2-apps.ts';
import { findPm2, listProcesses, type Pm2 } from '../../import/pm2-daemon.ts';
import { maxListBytes, parseProcessList } from '../../import/pm2-list.ts';
import { findPorts, type Pm2Port } from '../../import/pm2-ports.ts';
import { trafficOf } from '../../import/traffic.ts';
import { readAppText } from '../../system/fs/read-file.ts';
import { listListeners } from '../../system/net/listeners.ts';
import { parentOf } from '../../system/process/processes.ts';
import { appPath, type CommonOptions, call, wholeNumber } from '../command.ts';
import { argumentFrom, UsageError } from '../failure.ts';
import { createView, type DeployView, followDeploy } from '../follow-deploy.ts';
import { noteText, paint, print, printJson, printRemark } from '../output.ts';
import { type CheckoutCommit, commitOf } from '../upload/checkout.ts';
import { packDirectory } from '../upload/pack.ts';
import { planJson, planText, type ShownApp } from './plan-text.ts';

export interface ImportOptions extends CommonOptions {
  dryRun?: true;
  app?: string[];
  user?: string;
  dump?: string;
  code: boolean;
  port?: string;
  nginxConfig?: string;
}

/** Shows the apps of PM2, and creates an app for each that is not live in Sluice yet. */
export async function importPm2(options: ImportOptions): Promise<void> {
  checkOptions(options);
  const pm2 = options.dump === undefined ? await findPm2(options.user) : undefined;
  const { apps, modules } = appsOf(await readList(options, pm2));
  assertFound(options.app ?? [], apps);
  const ports = await portsOf(apps, pm2, options);
  const homes = [homedir(), userInfo().homedir, ...(pm2 ? [pm2.user.home] : [])];
  const { apps: planned, leftOut } = await planImport(apps, { ports, homes, only: options.app });
  const nginx = new Nginx(options.nginxConfig);
  const files = await nginx.files().catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    printRemark(`note: the configuration of nginx is not read: ${error.message}`);
    return undefined;
  });
  const statuses = await statusesOf(options);
  const shown: ShownApp[] = [];
  for (const each of planned) {
    const isLive = statuses.some(({ name, environment, release }) => {
      return name === each.name && environment === defaultEnvironment && release !== null;
    });
    shown.push({ planned: each, commit: await commitIn(each), isLive, traffic: trafficOf(each, files) });
  }
  const left = [...leftOut, ...modules.map((name) => ({ name, reason: 'is a module of PM2' }))];
  if (options.json && options.dryRun) return printJson({ apps: shown.map(planJson), leftOut: left });
  if (!options.json) {
    print(shown.map(planText).join('\n\n') || 'PM2 has no apps to import');
    if (left.length > 0)
      print(`\nleft out:\n${left.map(({ name, reason }) => `  ${name}: ${reason}`).join('\n')}`);
  }
  if (options.dryRun) return;
  for (const each of shown) if (!each.isLive) await createApp(each, options);
  if (options.json) printJson({ apps: shown.map(planJson), leftOut: left });
}

/** @throws UsageError for options that exclude each other */
function checkOptions({ app, port }: ImportOptions): void {
  if (port !== undefined && app?.length !== 1) throw new UsageError('--port needs one app: --app NAME');
}

async function readList({ dump }: ImportOptions, pm2: Pm2 | undefined) {
  if (pm2 !== undefined) return parseProcessList(await listProcesses(pm2), '`pm2 jlist`');
  const path = dump ?? '-';
  const text = path === '-' ? readAll(process.stdin) : readAppText(path, undefined, maxListBytes);
  return parseProcessList(await argumentFrom(text, '--dump'), path === '-' ? 'standard input' : path);
}

/** @throws UsageError for a name that PM2 does not have */
function assertFound(names: readonly string[], apps: readonly Pm2App[]): void {
  const missing = names.find((name) => !apps.some((app) => app.name === name));
  if (missing === undefined) return;
  throw new UsageError(
    `PM2 has no app ${missing}`,
    `Apps of PM2: ${apps.map(({ name }) => name).join(', ')}`,
  );
}

/** Returns the ports of all apps. A file does not say them, so only the variable PORT counts there. */
async function portsOf(apps: readonly Pm2App[], pm2: Pm2 | undefined, { port, app }: ImportOptions) {
  const listeners = (pm2 && (await listListeners())) ?? [];
  const found = findPorts(apps, { listeners, daemon: pm2?.daemon, parentOf });
  const isNamed = (each: Pm2App) => port !== undefined && app?.includes(each.name);
  for (const each of apps) {
    const named = isNamed(each)
      ? wholeNumber(port ?? '', '--port')
      : pm2 === undefined
        ? each.portVariable
        : undefined;
    if (named === undefined) continue;
    const hosts = listeners.filter((listener) => listener.port === named).map(({ host }) => host);
    found.set(each, {
      port: named,
      ports: [named],
      hosts: hosts.length > 0 ? hosts : ['127.0.0.1'],
    } satisfies Pm2Port);
  }
  return found;
}

/** Returns the status of all apps in Sluice; none for a dry run without a server. */
async function statusesOf({ dryRun }: ImportOptions): Promise<AppStatus[]> {
  return call<AppStatus[]>('GET', '/v1/apps').catch((error: unknown) => {
    if (dryRun && error instanceof AppError && error.code === 'not_running') return [];
    throw error;
  });
}

async function commitIn({ project }: PlannedApp): Promise<CheckoutCommit | undefined> {
  return commitOf(project.root).catch((error: Error) => {
    printRemark(`note: the repository in ${project.root} cannot be read: ${error.message}`);
    return undefined;
  });
}

/** Creates an app: its variables, and then its first release. */
async function createApp({ planned, commit }: ShownApp, { json, code }: ImportOptions): Promise<void> {
  const { name, variables, project } = planned;
  const id: EnvironmentId = { app: name, environment: defaultEnvironment };
  const view = json ? silentView : createView();
  if (!json) print(`\n${paint('bold', name)}`);
  if (Object.keys(variables).length > 0) {
    const query = { restart: 'false' };
    await call('PATCH', appPath(id, '/env'), { query, json: variables });
  }
  const settings = settingsText(planned);
  if (settings !== undefined && !json)
    print(
      noteText({ message: `commit this as ${project.root}/sluice.json, for later pushes:`, hint: settings }),
    );
  if (!code) return;
  const added = settings === undefined ? {} : { 'sluice.json': settings };
  const { stream } = await packDirectory(project.root, view.note, added);
  await followDeploy(id, view, 'deploy', '/releases', { query: { ...commit }, body: stream });
}

/** Returns the text of a sluice.json with the settings of an app; undefined if it needs none. */
function settingsText({ settings }: PlannedApp): string | undefined {
  return settings === undefined ? undefined : `${JSON.stringify(settings, null, 2)}\n`;
}

/** View for JSON, which has only the outcome. */
const silentView: DeployView = { uploading: () => undefined, event: () => undefined, note: () => undefined };
