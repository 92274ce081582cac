import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Environment } from '../apps/environment.ts';
import { secretValues } from '../apps/variable-set.ts';
import { secretsAmong } from '../config/app/variables.ts';
import type { AppSettings } from '../config/app-settings.ts';
import { AppError } from '../errors/app-error.ts';
import type { BackgroundSpec, GenerationLimits, GenerationSpec, PortAddress } from '../protocol/runner.ts';
import type { ProgramPlan, ReleaseNode, ReleaseRecord, RunPlan } from '../releases/release.ts';
import { expandWords } from '../releases/words.ts';
import { shellWord } from '../system/text/format.ts';
import { nodeOf } from './node.ts';
import { backgroundSpecs, pm2Variables, supervisionOfWorkers, withVariables } from './process-spec.ts';
import { aboutRelease, programPath } from './release-environment.ts';

/** Values of a trial boot, instead of those on the disk. */
export interface SpecChanges {
  env?: Record<string, string>;
  /** values to mask; all values of `env` unless set */
  secrets?: string[];
  workers?: number | null;
  /** Node.js of the release */
  node?: ReleaseNode;
  /** address that the release takes from another program */
  takes?: PortAddress;
  /** true if the release has been live before with the same variables and Node.js */
  isProven?: boolean;
}

/**
 * Returns what the runner needs to run a release with the variables and workers of its environment. `ensureNode` must have provided
 * its Node.js.
 */
export async function generationSpec(
  environment: Environment,
  record: ReleaseRecord,
  changes: SpecChanges = {},
): Promise<GenerationSpec> {
  const { appliance, paths, id, name } = environment;
  const { logSize, logSchedule, keepLogs, maxLogBytes, maxDraining } = appliance.settings;
  const { number, run } = record;
  if (run === null) throw new AppError('internal', `release ${number} of ${name} has no plan to run it`);
  const node = nodeOf(appliance, changes.node ?? record.node);
  const state = await environment.state();
  const { host = appliance.settings.apps.host, port } = changes.takes ?? state;
  const { settings } = run;
  const {
    health,
    warmup,
    waitReady,
    bootTimeout,
    settleTime,
    drainTimeout,
    keepWarm,
    stuckTimeout,
    overlap,
  } = settings;
  const { directory } = paths.release(number);
  const isolated = await appliance.runner.hasUsers();
  const { env: own, secrets } = await variablesOf(environment, changes);
  const scaled = changes.workers === undefined ? state.workers : changes.workers;
  const planned = run.usesCluster ? 1 : run.workers;
  const workers = run.usesCluster ? 1 : run.workers && (scaled ?? run.workers);
  const set = { PORT: String(port), ...aboutRelease(id, record) };
  const path = (rest: string | undefined) =>
    programPath({ release: directory, run, tools: appliance.paths.tools, node, rest });
  const usual = { ...systemEnvironment(isolated), ...run.managerEnv };
  const shared = {
    ...run.defaults,
    ...usual,
    // Releases of earlier versions were tried with `production`, and have no origins.
    NODE_ENV: run.origins === undefined ? 'production' : id.environment,
    ...settings.env,
    ...own,
    ...set,
    PATH: path(own['PATH'] ?? settings.env['PATH']),
  };
  const all = { ...withVariables(shared, run.env), ...set };
  const pm2 = settings.pm2Variables && pm2Variables(id.app, workers, run, directory);
  const env = { ...pm2, ...all };
  const background = backgroundSpecs(run, { directory, env: all, own, workers: planned, path, usual });
  const start = programSpec(run, directory, env);
  const exec = run.usesCluster ? clusterCommand(start) : run.exec;
  return {
    key: name,
    release: number,
    directory,
    ...(run.directory && { workingDirectory: run.directory }),
    ...(settings.directory && { commandDirectory: settings.directory }),
    // Sluice's own program serves a static site.
    node: run.static === undefined ? node : appliance.node,
    ...start,
    ...(exec && { exec }),
    env: { ...env, ...earlierVariable(run, directory) },
    workers,
    ...{ host, port },
    ...(changes.takes && { takesPort: true }),
    codePort: settings.port ?? null,
    // Without workers, there is no other check.
    ...(changes.isProven && workers > 0 && { isProven: true }),
    ...{ health, warmup, waitReady, overlap, bootTimeout, settleTime, drainTimeout, keepWarm, stuckTimeout },
    ...{ watchTime: settings.watchTime, watchLimits: settings.watchLimits },
    ...supervisionOfWorkers(settings),
    affinity: settings.affinity === 'client' && run.exec === undefined,
    maxDraining,
    limits: generationLimits(settings, memoryOfEach(settings, workers, background)),
    background,
    // Another number of workers changes nothing for background processes.
    ...(changes.workers !== undefined && { keepsBackground: true }),
    cron: settings.cron,
    log: {
      directory: paths.logs,
      size: logSize,
      schedule: logSchedule,
      keep: keepLogs,
      maxBytes: maxLogBytes,
      overflow: settings.logOverflow,
      secrets: secretsOf(secrets, run),
    },
    paths: { current: paths.current, generation: paths.generation, cron: paths.cron },
  };
}

/** Values of env files that a start command names. */
type FileValues = Pick<ProgramPlan, 'defaults' | 'secrets'>;

/** Returns the variables of the app and the values to mask: those of a trial, or else those on the disk. */
export async function variablesOf(
  environment: Environment,
  { env, secrets }: SpecChanges,
): Promise<{ env: Record<string, string>; secrets: string[] }> {
  if (env !== undefined) return { env, secrets: secrets ?? Object.values(env) };
  const set = await environment.variableSet();
  return { env: set.app, secrets: secretValues(set) };
}

/** Parts of a release that have values to mask. */
interface WithValues extends FileValues {
  background?: FileValues[];
  settings?: Pick<AppSettings, 'env' | 'processes'>;
}

/**
 * Returns the values to mask: those of secret variables, those of env files that its start commands name, and those in its
 * settings that are secret by their name.
 */
export function secretsOf(
  variables: string[],
  { background = [], settings, ...start }: WithValues,
): string[] {
  const ofFiles = [start, ...background].flatMap(({ defaults = {}, secrets = [] }) => [
    ...Object.values(defaults),
    ...secrets,
  ]);
  // Background processes in records of earlier versions have no variables.
  const inSettings = [settings, ...Object.values(settings?.processes ?? {})].flatMap((of) =>
    secretsAmong(of?.env),
  );
  return [...variables, ...ofFiles, ...inSettings];
}

/** Program that serves static sites. */
const siteServer = fileURLToPath(new URL('../static/serve.cjs', import.meta.url));

/** File that the workers of some apps load first, and the variable that it reads. */
const earlierAssets = fileURLToPath(new URL('../static/earlier-assets.cjs', import.meta.url));
const earlierAssetsVariable = 'SLUICE_EARLIER_ASSETS';

function earlierVariable({ earlierAssets: places }: RunPlan, directory: string): Record<string, string> {
  if (places === undefined) return {};
  const absolute = places.map((place) => ({ ...place, directory: join(directory, place.directory) }));
  return { [earlierAssetsVariable]: JSON.stringify(absolute) };
}

function programSpec(
  { nodeArgs, script, args, static: site, earlierAssets: places }: RunPlan,
  directory: string,
  env: Record<string, string>,
): Pick<GenerationSpec, 'nodeArgs' | 'script' | 'args'> {
  if (site !== undefined)
    return { nodeArgs: [], script: siteServer, args: [directory, JSON.stringify(site)] };
  return {
    nodeArgs: [...(places === undefined ? [] : ['--require', earlierAssets]), ...expandWords(nodeArgs, env)],
    script: join(directory, script),
    args: expandWords(args, env),
  };
}

/** Returns the command of an app that starts its own processes with node:cluster. */
function clusterCommand({ nodeArgs, script, args }: Pick<GenerationSpec, 'nodeArgs' | 'script' | 'args'>) {
  const command = ['exec', 'node', ...nodeArgs, script, ...args].map(shellWord).join(' ');
  return { command, reason: 'the app starts processes with node:cluster' };
}

/** Default limit of processes and threads. A worker has about a dozen threads; image libraries and compilers have more. */
const maxProcessesOf = { release: 512, each: 64 };

/** Default limit of a release's memory, as a multiple of `maxMemory`, which replaces single workers before that. */
const timesMaxMemory = 2;

/** Returns `maxMemory` of each worker and each background process of a release, in bytes; null for none. */
function memoryOfEach(
  settings: Pick<AppSettings, 'maxMemory'>,
  workers: number,
  background: BackgroundSpec[],
): (number | null)[] {
  const maxMemory = settings.maxMemory ?? null;
  const ofBackground = background.flatMap(({ count, maxMemory: own = maxMemory }) => Array(count).fill(own));
  return [...Array(workers).fill(maxMemory), ...ofBackground];
}

/** Returns the limits of a release. @param memoryOfEach `maxMemory` of each of its processes, in bytes; null for none */
export function generationLimits(
  settings: Pick<AppSettings, 'memoryLimit' | 'maxMemory' | 'maxProcesses' | 'cpuWeight'>,
  memoryOfEach: (number | null)[],
): GenerationLimits {
  const { memoryLimit, maxMemory, maxProcesses, cpuWeight } = settings;
  return {
    memory: memoryLimit ?? derivedMemory(memoryOfEach, maxMemory ?? null),
    processes: maxProcesses ?? maxProcessesOf.release + maxProcessesOf.each * memoryOfEach.length,
    cpuWeight,
  };
}

/** @returns null if a process may take any memory */
function derivedMemory(each: (number | null)[], ofApp: number | null): number | null {
  const limits = each.filter((limit) => limit !== null);
  if (limits.length < each.length) return null;
  // One process more than the release has: a new worker boots beside the one that it replaces.
  const another = limits.length === 0 ? ofApp : Math.max(...limits);
  return another && timesMaxMemory * limits.reduce((sum, limit) => sum + limit, another);
}

/** Variables of the server that an app inherits. */
const inherited = ['LANG', 'LC_ALL', 'LC_CTYPE', 'TZ'];
/** Variables about the user, which the runner sets if the app has its own user. */
const personal = ['HOME', 'USER', 'LOGNAME', 'SHELL', 'TMPDIR'];

/** Returns the part of the server's environment that an app gets: no secrets, and no PATH. */
export function systemEnvironment(isolated: boolean): Record<string, string> {
  const values = [...inherited, ...(isolated ? [] : personal)].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(values);
}
