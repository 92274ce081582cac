import type { EnvironmentState } from '../config/environment-state.ts';
import type { Reach } from '../config/reach.ts';
import type { DomainView } from '../edge/domain.ts';
import type { EnvironmentStatus, ExecCommand, Liveness, OneOffStatus, Reverted } from '../protocol/runner.ts';
import type { RunPlan } from '../releases/release.ts';
import { commandOf } from '../releases/words.ts';
import { sharedMasker } from '../system/text/mask/masker.ts';
import { changedSinceBuild } from './built-with.ts';
import type { Environment, Problem } from './environment.ts';
import { appAddress, hostOf } from './release-view.ts';
import { secretValues } from './variable-set.ts';

/** State of an app's workers. `stopped` also if the app should not run; `empty` if no release has been live. */
type AppState = Liveness | 'empty';

/** Part of the status that the runner knows. */
type OfRunner = Pick<EnvironmentStatus, InRunner>;
type InRunner = 'crash' | 'standby' | 'workers' | 'background' | 'cron' | 'descriptors';

const notInRunner: OfRunner = {
  ...{ crash: null, standby: null, workers: [], background: [], cron: [], descriptors: 0 },
};

/** Running one-off command, as the status of its app shows it. */
export type OneOffView = Omit<OneOffStatus, 'key' | 'node'>;

/** Returns the one-off commands of an environment. @param running those of all environments */
export function oneOffsOf(name: string, running: OneOffStatus[]): OneOffView[] {
  return running
    .filter(({ key }) => key === name)
    .map(({ id, release, command, by, detached, startedAt }) => ({
      ...{ id, release, command, by, detached, startedAt },
    }));
}

/** One environment of an app, as the API and `sluice status --json` show it. */
export interface AppStatus extends OfRunner {
  name: string;
  environment: string;
  state: AppState;
  /** start of that state, ISO 8601 */
  since: string;
  /** why the last start failed; null if it did not fail, or if the app runs or should not run */
  problem: Problem | null;
  /** with its first domain, or else its port; null if the live release has no workers, and so no port */
  url: string | null;
  reach: Reach | null;
  port: number;
  /** address on which the app listens */
  host: string;
  /** its domains, the oldest first */
  domains: DomainView[];
  /** number of the live release; null if there is none */
  release: number | null;
  /** release that was live before, and was worse; null if a person chose the live release */
  reverted: Reverted | null;
  /** full hash of the commit of the live release; null without git */
  commit: string | null;
  /** branch of the commit; null without git */
  branch: string | null;
  /** command that starts the workers of the live release, without its variables; null for a static site, and without workers */
  start: string | null;
  /** limit of the memory of one worker, in bytes; null if there is none */
  maxMemory: number | null;
  /** version of Node.js that the live release runs on; null if there is none, or if it is not recorded */
  node: string | null;
  /** variables that have other values than those that the build of the live release has used */
  changedSinceBuild: string[];
  /** number of workers that should run, 0 for an app without a port; null if the app does not run */
  wanted: number | null;
  /** command of exec mode; null if the app starts from a file, or does not run */
  exec: ExecCommand | null;
  /** one-off commands that run, the oldest first */
  oneOffs: OneOffView[];
  /** numbers of releases that are being deployed, the oldest first */
  deploying: number[];
  /** number of the release that was live in a restored backup, and is built before the app runs; else null */
  rebuild: number | null;
}

/**
 * @param running status of all environments that the runner knows
 * @param oneOffs all one-off commands that run
 */
export async function environmentStatus(
  environment: Environment,
  running: EnvironmentStatus[],
  oneOffs: OneOffStatus[],
): Promise<AppStatus> {
  const { id, name, appliance, deploys } = environment;
  const [state, active] = await Promise.all([environment.state(), environment.store.active()]);
  const live = active === null ? undefined : await environment.store.get(active.release);
  const inRunner = running.find(({ key }) => key === name);
  const { crash, standby, workers, background, cron, descriptors } = inRunner ?? notInRunner;
  const variables = live && (await environment.variableSet());
  // The settings of the release may contain secrets: a file of PM2 passes variables on.
  const masker = sharedMasker([...(variables ? secretValues(variables) : []), ...(live?.run?.secrets ?? [])]);
  const start = startCommand(live?.run ?? null);
  const exec = inRunner?.active?.exec;
  const liveness = appState(state, active !== null, inRunner, appliance.runner.connectedSince);
  return {
    name: id.app,
    environment: id.environment,
    ...liveness,
    crash,
    problem: liveness.state === 'starting' && !inRunner?.active ? environment.problem : null,
    ...appAddress(environment, state, live),
    domains: appliance.domains.of(id),
    port: state.port,
    host: hostOf(environment, state),
    release: active?.release ?? null,
    reverted: active?.reverted ?? null,
    commit: live?.source.commit ?? null,
    branch: live?.source.branch ?? null,
    start: start && masker.maskText(start),
    maxMemory: live?.run?.settings.maxMemory ?? null,
    node: live?.node?.version ?? null,
    changedSinceBuild: live && variables ? changedSinceBuild(live, variables) : [],
    wanted: inRunner?.active?.workers ?? null,
    exec: exec ? { ...exec, command: masker.maskText(exec.command) } : null,
    standby,
    workers,
    background,
    cron,
    descriptors,
    oneOffs: oneOffsOf(name, oneOffs),
    deploying: [...deploys.values()].filter(({ isUnderWay }) => isUnderWay).map(({ number }) => number),
    rebuild: active === null && state.desired === 'running' ? state.rebuild : null,
  };
}

/** Returns the command of the workers. The values of its variables may be secret. */
function startCommand(run: RunPlan | null): string | null {
  if (run === null || run.static !== undefined) return null;
  if (run.exec !== undefined) return run.exec.command;
  return run.script === '' ? null : commandOf(['node', ...run.nodeArgs, run.script, ...run.args]);
}

/** Returns the state of an app and its start, ISO 8601. */
function appState(
  { desired, desiredSince, createdAt }: EnvironmentState,
  wasLive: boolean,
  inRunner: EnvironmentStatus | undefined,
  connectedSince: Date | null,
): { state: AppState; since: string } {
  const settledAt = desiredSince ?? createdAt;
  if (!wasLive) return { state: 'empty', since: createdAt };
  if (desired === 'stopped') return { state: 'stopped', since: settledAt };
  if (inRunner?.active) return { state: inRunner.state, since: inRunner.since };
  // The start began when this runner connected: the app may have run before.
  const since = Math.max(Date.parse(settledAt), connectedSince?.getTime() ?? 0);
  return { state: 'starting', since: new Date(since).toISOString() };
}
