import { delimiter, dirname, join } from 'node:path';
import type { Environment } from '../apps/environment.ts';
import type { AppSettings } from '../config/app-settings.ts';
import { AppError } from '../errors/app-error.ts';
import type { BackgroundSpec, GenerationSpec, LogSpec, RestartSpec } from '../protocol/runner.ts';
import type { BackgroundPlan, ReleaseRecord } from '../releases/release.ts';
import { usualPath } from '../system/process/run.ts';
import { generationLimits } from './limits.ts';

/** What a boot may do differently from what is on the disk: to try a change before it is kept. */
export interface SpecChanges {
  env?: Record<string, string>;
  workers?: number | null;
}

/** All that the runner must know to run a release with the variables and workers of its environment. */
export async function generationSpec(
  environment: Environment,
  record: ReleaseRecord,
  changes: SpecChanges = {},
): Promise<GenerationSpec> {
  const { appliance, paths } = environment;
  const { number, run } = record;
  if (run === null)
    throw new AppError('internal', `release ${number} of ${environment.name} has no plan to run it`);
  const state = await environment.state();
  const { settings, script, args, nodeArgs } = run;
  const { directory } = paths.release(number);
  const isolated = await environment.files.isolated;
  const own = changes.env ?? (await environment.variables());
  const workers = (changes.workers === undefined ? state.workers : changes.workers) ?? run.workers;
  const processes = run.background.reduce((sum, { count }) => sum + count, workers);
  return {
    key: environment.name,
    release: number,
    directory,
    node: appliance.node,
    nodeArgs,
    script: join(directory, script),
    args,
    env: {
      ...systemEnvironment(appliance.node, isolated),
      NODE_ENV: 'production',
      ...own,
      ...run.env,
      PORT: String(state.port),
      SLUICE_APP: environment.id.app,
      SLUICE_ENVIRONMENT: environment.id.environment,
      SLUICE_RELEASE: String(number),
    },
    workers,
    host: appliance.settings.apps.host,
    port: state.port,
    codePort: settings.port ?? null,
    health: settings.health,
    waitReady: settings.waitReady,
    bootTimeout: settings.bootTimeout,
    settleTime: settings.settleTime,
    drainTimeout: settings.drainTimeout,
    killTimeout: settings.killTimeout,
    stopSignal: settings.stopSignal ?? null,
    maxDraining: appliance.settings.maxDraining,
    restarts: restartSpec(settings),
    maxMemory: settings.maxMemory ?? null,
    limits: generationLimits(settings, processes),
    stuckTimeout: settings.stuckTimeout,
    cronRestart: settings.cronRestart ?? null,
    background: run.background.map((plan) => backgroundSpec(directory, plan)),
    cron: settings.cron,
    log: logSpec(environment, settings, own),
    paths: { current: paths.current, generation: paths.generation, cron: paths.cron },
  };
}

function restartSpec({ maxRestarts, minUptime, restartDelay, stopExitCodes }: AppSettings): RestartSpec {
  return { maxRestarts, minUptime, delay: restartDelay, stopExitCodes };
}

function backgroundSpec(directory: string, { script, ...plan }: BackgroundPlan): BackgroundSpec {
  return { ...plan, script: join(directory, script) };
}

/** @param env the app's own variables, whose values must not be read in its log */
function logSpec(
  { appliance, paths }: Environment,
  { logOverflow }: AppSettings,
  env: Record<string, string>,
): LogSpec {
  const { logSize, logSchedule, keepLogs, maxLogBytes } = appliance.settings;
  return {
    directory: paths.logs,
    size: logSize,
    schedule: logSchedule,
    keep: keepLogs,
    maxBytes: maxLogBytes,
    overflow: logOverflow,
    secrets: Object.values(env),
  };
}

const inherited = ['LANG', 'LC_ALL', 'LC_CTYPE', 'TZ'];
/** Where it runs as another user, that one's are the runner's to give. */
const personal = ['HOME', 'USER', 'LOGNAME', 'SHELL', 'TMPDIR'];

/** What an app gets of our own environment: nothing that is a secret of ours, and its own Node first in the path. */
function systemEnvironment(node: string, isolated: boolean): Record<string, string> {
  const kept = [...inherited, ...(isolated ? [] : personal)].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const path = process.env['PATH'] ?? usualPath;
  return { ...Object.fromEntries(kept), PATH: [dirname(node), path].join(delimiter) };
}
