import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { AppSettings } from '../config/app-settings.ts';
import type { BackgroundSpec, ExecCommand, RestartSpec, SupervisionSpec } from '../protocol/runner.ts';
import type { BackgroundPlan, ProgramPlan, RunPlan } from '../releases/release.ts';
import { expandWord, expandWords, type Word } from '../releases/words.ts';

/** Returns `env` with the variables of a command; a value may refer to the variables before it. */
export function withVariables(
  env: Record<string, string>,
  added: Record<string, Word>,
): Record<string, string> {
  const all = { ...env };
  for (const [name, value] of Object.entries(added)) all[name] = expandWord(value, all);
  return all;
}

/** Returns how the runner ends and restarts the workers. */
export function supervisionOfWorkers(settings: AppSettings): SupervisionSpec {
  const { killTimeout, shutdownWithMessage, stopSignal, maxMemory, cronRestart, instanceVar } = settings;
  return {
    ...{ killTimeout, shutdownWithMessage, instanceVar },
    stopSignal: stopSignal ?? null,
    restarts: restartSpec(settings),
    maxMemory: maxMemory ?? null,
    cronRestart: cronRestart ?? null,
    // All workers share the port.
    incrementVar: settings.incrementVar === 'PORT' ? null : (settings.incrementVar ?? null),
    pmId: settings.pm2Variables ? 0 : null,
  };
}

function restartSpec({
  autorestart,
  maxRestarts,
  minUptime,
  restartDelay: delay,
  restartBackoff: backoff,
  stopExitCodes,
}: AppSettings): RestartSpec {
  return { autorestart, maxRestarts, minUptime, delay, backoff, stopExitCodes };
}

/** Returns the variables that PM2 sets for a process, except those that the runner sets for each instance. */
export function pm2Variables(
  name: string,
  instances: number,
  { script, directory: at, exec }: ProgramPlan & { exec?: ExecCommand },
  directory: string,
): Record<string, string> {
  return {
    name,
    instances: String(instances),
    exec_mode: instances > 1 ? 'cluster_mode' : 'fork_mode',
    pm_cwd: join(directory, at ?? ''),
    ...(exec === undefined && { pm_exec_path: join(directory, script) }),
  };
}

interface OfWorkers {
  /** directory of the release */
  directory: string;
  /** variables of the workers, which background processes get, too */
  env: Record<string, string>;
  /** variables of `sluice env set` */
  own: Record<string, string>;
  /** number of workers that the release asks for, also after a scale */
  workers: number;
  /** returns the PATH of a process. @param rest PATH of the app; undefined for that of the server */
  path(rest: string | undefined): string;
  /** variables of the system and the package manager, with their values before the settings of the app change them */
  usual: Record<string, string>;
}

/** Returns what the runner needs to run the background processes of a release. */
export function backgroundSpecs({ settings, background }: RunPlan, ofWorkers: OfWorkers): BackgroundSpec[] {
  // PM2 counts the processes of all its apps.
  let pmId = ofWorkers.workers;
  return background.map((plan) => {
    const set = settings.processes[plan.name];
    const { name, count } = plan;
    const spec = { ...backgroundSpec(plan, set?.env, ofWorkers), ...supervisionOf(settings, set) };
    if (!settings.pm2Variables) return spec;
    const first = pmId;
    pmId += count;
    const ofPm2 = pm2Variables(name, count, plan, ofWorkers.directory);
    const missing = Object.entries(ofPm2).filter(([variable]) => ofWorkers.env[variable] === undefined);
    return { ...spec, env: { ...Object.fromEntries(missing), ...spec.env }, pmId: first };
  });
}

type ProcessSettings = AppSettings['processes'][string];

/** Returns the settings of a background process that are not those of the workers. */
function supervisionOf(settings: AppSettings, own: ProcessSettings | undefined): Partial<BackgroundSpec> {
  if (own === undefined) return {};
  const set = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  const { killTimeout, shutdownWithMessage, stopSignal, maxMemory, cronRestart, instanceVar, incrementVar } =
    own;
  const passedOn = {
    ...{ killTimeout, shutdownWithMessage, stopSignal, cronRestart, instanceVar, incrementVar },
    waitReady: own.waitReady,
  };
  const given = Object.entries(passedOn).filter(([, value]) => value !== undefined);
  const restarts = restartSpec({ ...settings, ...set });
  return {
    ...Object.fromEntries(given),
    ...(!isDeepStrictEqual(restarts, restartSpec(settings)) && { restarts }),
    ...(maxMemory !== undefined && { maxMemory: maxMemory === false ? null : maxMemory }),
  };
}

function backgroundSpec(
  { name, count, overlap, script, exec, defaults = {}, directory: at, ...plan }: BackgroundPlan,
  ofProcess: Record<string, string | null> = {},
  { directory, env: shared, own, path, usual }: OfWorkers,
): BackgroundSpec {
  const written = Object.entries(ofProcess).filter(([variable]) => own[variable] === undefined);
  const usualOr = (variable: string, value: string | null) =>
    variable === 'PATH' ? path(value ?? undefined) : (value ?? usual[variable]);
  const values = written.map(([variable, value]) => [variable, usualOr(variable, value)] as const);
  const removed = values.flatMap(([variable, value]) => (value === undefined ? [variable] : []));
  const set = values.filter((entry): entry is [string, string] => entry[1] !== undefined);
  const missing = Object.entries(defaults).filter(([variable]) => shared[variable] === undefined);
  const before = Object.fromEntries([...missing, ...set]);
  const kept = Object.entries(shared).filter(([variable]) => !removed.includes(variable));
  const all = withVariables({ ...Object.fromEntries(kept), ...before }, plan.env);
  const names = [...Object.keys(before), ...Object.keys(plan.env)];
  const env = {
    ...Object.fromEntries(removed.map((variable) => [variable, null])),
    ...Object.fromEntries(names.map((key) => [key, all[key] ?? ''])),
  };
  return {
    ...{ name, count, overlap, env },
    ...(at && { workingDirectory: at }),
    ...(exec && { exec: exec.command }),
    script: join(directory, script),
    nodeArgs: expandWords(plan.nodeArgs, all),
    args: expandWords(plan.args, all),
  };
}
