import { parseEnv } from 'node:util';
import { quote } from '../build/start-command/quote.ts';
import { AppError } from '../errors/app-error.ts';
import { readAppTextIfAny } from '../system/fs/read-file.ts';
import { listSome } from '../system/text/format.ts';
import { validName } from './app-name.ts';
import { isAssigned } from './foreign-variables.ts';
import { type Environment, machineVariables } from './machine-variables.ts';
import type { Pm2App } from './pm2-apps.ts';
import { isSetIn, namesApp, type Pm2File, pm2File } from './pm2-file.ts';
import type { Pm2Port } from './pm2-ports.ts';
import { findProject, type Project, within } from './project.ts';
import { type Settings, settingsBesideFile, settingsOf } from './settings.ts';

/** App that an import makes from one app of PM2, or from several apps with the same code. */
export interface PlannedApp {
  name: string;
  project: Project;
  web: Pm2App | undefined;
  background: Pm2App[];
  /** port that PM2's app listens on; undefined if it does not listen, or if its port is unknown */
  port: Pm2Port | undefined;
  /** settings of what PM2 runs */
  running: Settings;
  /** settings that no file in the repository has, for its sluice.json; undefined if there are none */
  settings: Settings | undefined;
  variables: Record<string, string>;
  /** names of variables of the machine, which are left out */
  ofMachine: string[];
  /** facts that the import does not take over, and why */
  notes: string[];
}

export interface ImportPlan {
  apps: PlannedApp[];
  /** apps of PM2 that are left out, and why */
  leftOut: { name: string; reason: string }[];
}

interface PlanFacts {
  ports: ReadonlyMap<Pm2App, Pm2Port>;
  homes: readonly string[];
  /** names of apps in PM2 to import; undefined for all that run */
  only: readonly string[] | undefined;
  /** environments of shells on this machine */
  shell: readonly Environment[];
  /** names of variables that belong to the apps, whatever else has them */
  wanted: readonly string[];
}

/** Limit of a file of PM2, in bytes. */
const maxSettingsFile = 1024 ** 2;
/** Limit of a file with variables, in bytes. */
const maxEnvFile = 64 * 1024;

/**
 * Plans an import. Each app of PM2 that listens becomes an app. The others with the same code become background processes of the
 * first one, or together an app without a port.
 */
export async function planImport(
  apps: readonly Pm2App[],
  { ports, homes, only, shell, wanted }: PlanFacts,
): Promise<ImportPlan> {
  const leftOut: ImportPlan['leftOut'] = [];
  const projects = new Map<Pm2App, Project>();
  for (const app of apps) {
    const reason = await reasonToLeaveOut(app);
    if (reason !== undefined) leftOut.push({ name: app.name, reason });
  }
  const byRoot = Map.groupBy(projects.keys(), (app) => projects.get(app)?.root ?? '');
  const taken = new Set<string>();
  const planned: PlannedApp[] = [];
  for (const group of byRoot.values()) {
    const listening = group.filter(
      (app) => ports.has(app) || (app.isCluster && app.portVariable !== undefined),
    );
    const webs = listening.length > 0 ? listening : group.filter(({ isCluster }) => isCluster).slice(0, 1);
    const background = group.filter((app) => !webs.includes(app));
    for (const [index, web] of (webs.length > 0 ? webs : [undefined]).entries()) {
      const others = index === 0 ? background : [];
      const first = (web ?? others[0]) as Pm2App;
      const name = validName(first.name, taken);
      try {
        planned.push(await planApp(name, projects.get(first) as Project, web, others, webs.length));
        taken.add(name);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        const reason = `${error.message}: ${error.hint}`;
        leftOut.push(...[...(web ? [web] : []), ...others].map((app) => ({ name: app.name, reason })));
      }
    }
  }
  return { apps: planned, leftOut };

  async function reasonToLeaveOut(app: Pm2App): Promise<string | undefined> {
    const isNamed = only?.includes(app.name);
    if (only !== undefined && !isNamed) return 'not named by --app';
    if (!app.isOnline && !isNamed) return `does not run in PM2 (import it with --app ${app.name})`;
    const project = await findProject(app, homes);
    if (project === undefined)
      return `${app.pm_cwd} has no code of its own: put the app into a directory with a package.json`;
    projects.set(app, project);
    return undefined;
  }

  /** Returns true if a file of PM2 also starts an app of PM2 that is left out, or that is planned by itself. */
  async function hasOthers(file: Pm2File, { directory }: Project, all: readonly Pm2App[]): Promise<boolean> {
    for (const other of apps.filter((each) => !all.includes(each) && namesApp(file, each.name))) {
      const project = projects.get(other) ?? (await findProject(other, homes));
      if (project?.directory === directory) return true;
    }
    return false;
  }

  async function planApp(
    name: string,
    project: Project,
    web: Pm2App | undefined,
    background: Pm2App[],
    webs: number,
  ): Promise<PlannedApp> {
    const all = [...(web ? [web] : []), ...background];
    const found = machineVariables(project.root, all, { all: apps, shell });
    const ofMachine = found.difference(new Set(wanted));
    const ownApps = all.map((app) => ({ ...app, variables: without(app.variables, ofMachine) }));
    const file = await readFileOf(project, all);
    const inFiles = await readEnvFiles(project, ownApps);
    const variables = variablesOf(inFiles, ownApps, file);
    const port = web && ports.get(web);
    const running = await settingsOf(project, { web, background, port: port?.port, variables });
    const isAlone = webs < 2 && !(file && (await hasOthers(file, project, all)));
    return {
      name,
      project,
      web,
      background,
      port,
      running,
      settings: settingsFor(project, web, background, { isAlone, running, file }),
      variables,
      ofMachine: [...ofMachine].sort(),
      notes: [
        ...notesOf(project, ownApps),
        ...notesOnFiles(inFiles),
        ...(webs < 2 || project.hasSettings ? [] : [sameRepository]),
      ],
    };
  }
}

function without(variables: Record<string, string>, names: ReadonlySet<string>): Record<string, string> {
  return Object.fromEntries(Object.entries(variables).filter(([name]) => !names.has(name)));
}

/** Returns the project's file of PM2 if it names all apps: it may be for other apps than those that run. */
async function readFileOf(project: Project, apps: readonly Pm2App[]): Promise<Pm2File | undefined> {
  const { directory, settingsFile } = project;
  if (settingsFile === undefined) return undefined;
  const text = await readAppTextIfAny(directory, settingsFile, maxSettingsFile);
  const file = pm2File(settingsFile, text ?? '');
  return apps.every(({ name }) => namesApp(file, name) && !/[, ]/.test(name)) ? file : undefined;
}

/**
 * Returns the settings that no file in the repository has; undefined if there are none.
 * @param file of PM2 in the project, for these apps
 */
function settingsFor(
  project: Project,
  web: Pm2App | undefined,
  background: readonly Pm2App[],
  { isAlone, running, file }: { isAlone: boolean; running: Settings; file: Pm2File | undefined },
): Settings | undefined {
  if (project.hasSettings) return undefined;
  if (file === undefined) return running;
  const names = [...(web ? [web] : []), ...background].map(({ name }) => name).join(',');
  const only = {
    start: `pm2 start ${project.settingsFile} --only ${quote(names)}`,
    ...(web === undefined && { workers: 0 }),
  };
  const settings = { ...settingsBesideFile(project, web, running), ...(isAlone ? {} : only) };
  return Object.keys(settings).length === 0 ? undefined : settings;
}

/** Reads the files `.env` of apps, which no upload contains. */
async function readEnvFiles(project: Project, apps: readonly Pm2App[]): Promise<Record<string, string>> {
  const directories = new Set([project.directory, ...apps.map(({ pm_cwd: cwd }) => cwd)]);
  const texts = await Promise.all(
    [...directories]
      .filter((directory) => within(project.root, directory) !== undefined)
      .map((directory) => readAppTextIfAny(directory, '.env', maxEnvFile)),
  );
  return Object.assign({}, ...texts.map((text) => parseEnv(text ?? ''))) as Record<string, string>;
}

/**
 * Returns the variables of an app: those of PM2 that its file in the repository does not set, before those of files `.env`.
 * @param inFiles variables of files `.env`
 */
function variablesOf(
  inFiles: Record<string, string>,
  apps: readonly Pm2App[],
  file: Pm2File | undefined,
): Record<string, string> {
  const ofFiles = Object.fromEntries(Object.entries(inFiles).filter(([name]) => !isAssigned(name)));
  const ofApps = apps.map(({ name: app, variables }) => {
    const isOwn = ([name, value]: [string, string]) => file === undefined || !isSetIn(file, app, name, value);
    return Object.fromEntries(Object.entries(variables).filter(isOwn));
  });
  return Object.assign({}, ofFiles, ...ofApps.toReversed()) as Record<string, string>;
}

/** Names the variables of files `.env` that are left out. The plan shows the port anyway. */
function notesOnFiles(inFiles: Record<string, string>): string[] {
  const names = Object.keys(inFiles).filter((name) => isAssigned(name) && name !== 'PORT');
  if (names.length === 0) return [];
  return [`${listSome(names, 40)} in .env: left out, because PM2 and Sluice set or refuse such names`];
}

const sameRepository =
  'another app has the same repository: each needs a sluice.json of its own, such as in a branch of its own';

/** Facts that are not taken over: a condition, and the text. */
const notTakenOver: {
  is: (app: Pm2App, project: Project) => boolean;
  text: (app: Pm2App, project: Project) => string;
}[] = [
  {
    is: ({ watch }) => watch !== undefined && watch !== false,
    text: () => '"watch" is not taken over: a deploy restarts the app',
  },
  {
    is: ({ pm_cwd: cwd }, { root }) => within(root, cwd) === undefined,
    text: ({ pm_cwd: cwd }, { root }) =>
      `the app ran in ${cwd}, and runs in the directory of its release now, with the files of ${root}`,
  },
  {
    is: ({ increment_var: name, instances }) => name === 'PORT' && instances > 1,
    text: () => 'each process had a port of its own; the workers of Sluice share one port',
  },
];

function notesOf(project: Project, apps: readonly Pm2App[]): string[] {
  const texts = apps.flatMap((app) =>
    notTakenOver.filter(({ is }) => is(app, project)).map(({ text }) => `${app.name}: ${text(app, project)}`),
  );
  const shadowed = apps.slice(1).flatMap(({ name, variables }) => {
    const different = Object.keys(variables).filter(
      (each) => apps[0]?.variables[each] !== undefined && apps[0]?.variables[each] !== variables[each],
    );
    return different.length === 0
      ? []
      : [
          `${name}: ${different.join(', ')} had another value there; all processes of an app have the same variables`,
        ];
  });
  return [...texts, ...shadowed];
}
