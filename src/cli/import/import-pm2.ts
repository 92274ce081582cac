import { mkdtempDisposable, open } from 'node:fs/promises';
import { homedir, tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import type { AppStatus } from '../../apps/status.ts';
import { defaultEnvironment, type EnvironmentId } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { shellEnvironments } from '../../import/machine-variables.ts';
import { changesText, Nginx } from '../../import/nginx.ts';
import { type PlannedApp, planImport } from '../../import/plan.ts';
import { appsOf, type Pm2App } from '../../import/pm2-apps.ts';
import { findPm2, listProcesses, type Pm2 } from '../../import/pm2-daemon.ts';
import { maxListBytes, parseProcessList } from '../../import/pm2-list.ts';
import { findPorts, type Pm2Port } from '../../import/pm2-ports.ts';
import { listRecords, lockTakeovers } from '../../import/records.ts';
import { trafficOf } from '../../import/traffic.ts';
import { readAppText } from '../../system/fs/read-file.ts';
import { listListeners } from '../../system/net/listeners.ts';
import { parentOf } from '../../system/process/processes.ts';
import { takeRights } from '../../system/process/user.ts';
import { appPath, type CommonOptions, call, wholeNumber } from '../command.ts';
import { argumentFrom, UsageError } from '../failure.ts';
import { createView, type DeployView, followDeploy } from '../follow-deploy.ts';
import { noteText, paint, print, printJson, printRemark } from '../output.ts';
import { type CheckoutCommit, commitOf } from '../upload/checkout.ts';
import { packDirectory } from '../upload/pack.ts';
import { missingInSluice } from './live-app.ts';
import { planJson, planText, type ShownApp } from './plan-text.ts';
import { nginxChanges, type Takeover, takeOver } from './take-over.ts';
import { undoTakeover } from './undo.ts';

export interface ImportOptions extends CommonOptions {
  dryRun?: true;
  app?: string[];
  variable?: string[];
  user?: string;
  dump?: string;
  code: boolean;
  apply?: true;
  delete?: true;
  undo?: string;
  port?: string;
  nginxConfig?: string;
}

/** Shows the apps of PM2, creates apps from them, and takes over their traffic, as far as the options ask for it. */
export async function importPm2(options: ImportOptions): Promise<void> {
  checkOptions(options);
  const { json, dryRun, apply } = options;
  const say = (text: string) => (json ? undefined : print(text));
  const nginx = new Nginx(options.nginxConfig);
  const isTakeover = !dryRun && (apply === true || options.undo !== undefined);
  using _ = isTakeover ? await lockTakeovers() : undefined;
  if (options.undo !== undefined) {
    const app = await undoTakeover(options.undo, { nginx, say, isDry: dryRun === true });
    if (json) printJson({ app, undone: dryRun !== true });
    return;
  }
  const pm2 = options.dump === undefined ? await findPm2(options.user) : undefined;
  const { shown, leftOut, statuses } = await planAll(options, pm2, nginx);
  for (const { planned } of shown) {
    const live = liveIn(statuses, planned.name);
    if (live !== undefined) planned.notes.push(...(await missingInSluice(planned, live)));
  }
  say(shown.map(planText).join('\n\n') || 'PM2 has no apps to import');
  if (leftOut.length > 0)
    say(`\nleft out:\n${leftOut.map(({ name, reason }) => `  ${name}: ${reason}`).join('\n')}`);
  const takeovers: Takeover[] = [];
  for (const each of dryRun ? [] : shown) {
    say(`\n${paint('bold', each.planned.name)}`);
    if (!each.isLive) await createApp(each, options, pm2);
    if (pm2 === undefined || !options.code) continue;
    const isDelete = options.delete === true;
    if (apply) takeovers.push(await takeOver(each, { pm2, nginx, say, isDelete }));
    else say(await nextStep(each, nginx));
  }
  if (apply && pm2 !== undefined) say(await remainder(pm2));
  if (json) printJson({ apps: shown.map(planJson), leftOut, takeovers });
}

/** @throws UsageError for options that exclude each other */
function checkOptions({ dump, apply, undo, code, app, port, delete: isDelete }: ImportOptions): void {
  if (dump !== undefined && apply) throw new UsageError('--apply needs PM2 itself: leave out --dump');
  if (apply && !code) throw new UsageError('--apply needs the code: leave out --no-code');
  if (isDelete && !apply) throw new UsageError('--delete is for --apply');
  if (undo !== undefined && apply) throw new UsageError('--undo excludes --apply');
  if (port !== undefined && app?.length !== 1) throw new UsageError('--port needs one app: --app NAME');
}

/** Plans all apps, and finds the way of their traffic. */
async function planAll(options: ImportOptions, pm2: Pm2 | undefined, nginx: Nginx) {
  const { apps, modules } = appsOf(await readList(options, pm2));
  assertFound(options.app ?? [], apps);
  const ports = await portsOf(apps, pm2, options);
  const files = await nginx.files().catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    printRemark(`note: the configuration of nginx is not read: ${error.message}`);
    return undefined;
  });
  const statuses = await statusesOf(options);
  const homes = [homedir(), userInfo().homedir, ...(pm2 ? [pm2.user.home] : [])];
  const owners = await takenOver(pm2);
  const shell = shellEnvironments();
  const { app: only, variable: wanted = [] } = options;
  // The user of PM2 names the directories, and may name those of others.
  using _ = pm2 && takeRights(pm2.user);
  const { apps: planned, leftOut } = await planImport(apps, { ports, homes, only, shell, wanted });
  assertHas(wanted, planned);
  const shown: ShownApp[] = [];
  for (const each of planned) {
    const apps = [...(each.web ? [each.web] : []), ...each.background];
    const owner = apps.map(({ name }) => owners.get(name)).find((app) => app !== undefined);
    if (owner !== undefined && owner.app !== each.name) {
      const reason = `is a process of ${owner.app} in Sluice: finish its takeover with --app ${owner.first} --apply, or undo it with --undo ${owner.app}`;
      leftOut.push(...apps.map(({ name }) => ({ name, reason })));
      continue;
    }
    const isLive = liveIn(statuses, each.name) !== undefined;
    shown.push({
      planned: each,
      commit: await commitIn(each),
      isLive,
      traffic: await trafficOf(each, files),
    });
  }
  const ofModules = modules.map((name) => ({ name, reason: 'is a module of PM2' }));
  return { shown, leftOut: [...leftOut, ...ofModules], statuses };
}

/** Returns the status of an app that has a live release in production. */
function liveIn(statuses: readonly AppStatus[], app: string): AppStatus | undefined {
  return statuses.find(
    ({ name, environment, release }) =>
      name === app && environment === defaultEnvironment && release !== null,
  );
}

/** Returns the apps of PM2 that takeovers have recorded, with the app in Sluice and the first app in PM2 of the takeover. */
async function takenOver(pm2: Pm2 | undefined): Promise<Map<string, { app: string; first: string }>> {
  const records = [...(await listRecords())].filter(
    ([, { user, home }]) => user === pm2?.user.name && home === pm2.home,
  );
  return new Map(
    records.flatMap(([app, { names }]) =>
      names.map((name) => [name, { app, first: names[0] ?? name }] as const),
    ),
  );
}

/** Describes what `--apply` would do. */
async function nextStep({ planned, traffic }: ShownApp, nginx: Nginx): Promise<string> {
  const { web, background } = planned;
  const apply = `sluice import pm2 --app ${(web ?? background[0])?.name} --apply`;
  const twice =
    background.length === 0 ? '' : ' Until then, its background processes run in PM2 and in Sluice.';
  const changes = traffic.by === 'nginx' ? `${changesText(await nginxChanges(planned, nginx))}\n` : '';
  return `${changes}PM2 still serves the app.${twice} To take over its traffic: ${apply}`;
}

/** Returns what remains to be done in PM2, which would start stopped apps again when the machine starts. */
async function remainder(pm2: Pm2): Promise<string> {
  const { apps } = appsOf(parseProcessList(await listProcesses(pm2), '`pm2 jlist`'));
  const isEmpty = apps.every(({ isOnline }) => !isOnline);
  const steps = isEmpty
    ? 'No app runs in PM2 any more. To keep PM2 and its apps from starting at boot: `pm2 save --force`, `pm2 unstartup`'
    : 'Save the list of PM2, so that PM2 does not start these apps at boot: `pm2 save`';
  const logs = [...new Set(apps.flatMap(({ logs }) => logs.map((path) => dirname(path))))];
  return `\n${steps} (as ${pm2.user.name}).\nThe logs of PM2 remain in ${logs.join(', ') || `${pm2.home}/logs`}.`;
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

/** @throws UsageError for a variable that no app has */
function assertHas(names: readonly string[], planned: readonly PlannedApp[]): void {
  const missing = names.find((name) => !planned.some(({ variables }) => name in variables));
  if (missing === undefined) return;
  throw new UsageError(
    `no app to import has a variable ${missing}, or its file of PM2 sets it`,
    'Set a variable yourself: `sluice env set APP NAME=value`.',
  );
}

/** Returns the ports of all apps. A file does not say them, so only the variable PORT counts there. */
async function portsOf(apps: readonly Pm2App[], pm2: Pm2 | undefined, { port, app }: ImportOptions) {
  const all = (pm2 && (await listListeners())) ?? [];
  // The user of PM2 writes the list, and may name processes of others.
  const listeners = all.filter(({ uid }) => uid === pm2?.user.uid);
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
async function createApp({ planned, commit }: ShownApp, { json, code }: ImportOptions, pm2: Pm2 | undefined) {
  const { name, variables, project } = planned;
  const id: EnvironmentId = { app: name, environment: defaultEnvironment };
  const view = json ? silentView : createView();
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
  await using directory = await mkdtempDisposable(join(tmpdir(), 'sluice-import-'));
  await using file = await open(join(directory.path, 'app.tar.gz'), 'wx+', 0o600);
  {
    using _ = pm2 && takeRights(pm2.user);
    const { stream } = await packDirectory(project.root, view.note, added);
    for await (const chunk of stream) await file.writeFile(chunk as Buffer);
  }
  const body = file.createReadStream({ start: 0, autoClose: false });
  await followDeploy(id, view, 'deploy', '/releases', { query: { ...commit }, body });
}

/** Returns the text of a sluice.json with the settings of an app; undefined if it needs none. */
function settingsText({ settings }: PlannedApp): string | undefined {
  return settings === undefined ? undefined : `${JSON.stringify(settings, null, 2)}\n`;
}

/** View for JSON, which has only the outcome. */
const silentView: DeployView = { uploading: () => undefined, event: () => undefined, note: () => undefined };
