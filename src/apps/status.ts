import type { EnvironmentState } from '../config/environment-state.ts';
import type { DomainView } from '../edge/domain.ts';
import type {
  BackgroundStatus,
  Crash,
  CronStatus,
  EnvironmentStatus,
  Liveness,
  WorkerStatus,
} from '../protocol/runner.ts';

import type { Environment, Problem } from './environment.ts';
import { siteUrl } from './release-view.ts';

/** As far as its workers are concerned, and `stopped` also where it was told to stop; `empty` has had no release live. */
export type AppState = Liveness | 'empty';

/** One app in one environment, as `sluice status --json` and the API show it. */
export interface AppStatus {
  name: string;
  environment: string;
  state: AppState;
  /** since when it is in that state, ISO 8601 */
  since: string;
  /** the last death of a worker of the live release, since that went live; null where none has died */
  crash: Crash | null;
  /** why the last start failed; null if none has failed, and null unless the app should run and does not run */
  problem: Problem | null;
  /** at its first domain, where it has one */
  url: string;
  port: number;
  /** host names that lead to it, the oldest first */
  domains: DomainView[];
  /** number of the live release; null where none is */
  release: number | null;
  /** how many there should be; null where it does not run */
  wanted: number | null;
  workers: WorkerStatus[];
  /** processes without a port */
  background: BackgroundStatus[];
  cron: CronStatus[];
  /** number of file descriptors that the runner holds for the app */
  descriptors: number;
  /** releases that are being deployed now, the oldest first */
  deploying: number[];
  /** number of the release that it ran in a backup, and that is to be built here before anything runs; else null */
  rebuild: number | null;
}

/** @param running what the runner says of all targets */
export async function environmentStatus(
  environment: Environment,
  running: EnvironmentStatus[],
): Promise<AppStatus> {
  const [state, active] = await Promise.all([environment.state(), environment.store.active()]);
  const live = active === null ? undefined : await environment.store.get(active.release);
  const inRunner = running.find(({ key }) => key === environment.name);
  return {
    name: environment.id.app,
    environment: environment.id.environment,
    ...appState(state, active !== null, inRunner, environment.appliance.runner.connectedSince),
    crash: inRunner?.crash ?? null,
    problem: isStarting(state, active !== null, inRunner) ? environment.problem : null,
    url: siteUrl(environment, state, live?.protocol),
    domains: environment.appliance.domains.of(environment.id),
    port: state.port,
    release: active?.release ?? null,
    wanted: inRunner?.active?.workers ?? null,
    workers: inRunner?.workers ?? [],
    background: inRunner?.background ?? [],
    cron: inRunner?.cron ?? [],
    descriptors: inRunner?.descriptors ?? 0,
    deploying: environment.deploys.all
      .filter((deployment) => deployment.isUnderWay)
      .map((deployment) => deployment.number),
    rebuild: active === null && state.desired === 'running' ? state.rebuild : null,
  };
}

function appState(
  { desired, desiredSince, createdAt }: EnvironmentState,
  wasLive: boolean,
  inRunner: EnvironmentStatus | undefined,
  connectedSince: Date | null,
): { state: AppState; since: string } {
  const settled = desiredSince ?? createdAt;
  if (!wasLive) return { state: 'empty', since: createdAt };
  if (desired === 'stopped') return { state: 'stopped', since: settled };
  // It is for this runner to start it: that it ran before, and since when it was to, says nothing of how long it takes.
  if (!inRunner?.active) return { state: 'starting', since: later(settled, connectedSince) };
  return { state: inRunner.state, since: inRunner.since };
}

/** Returns true if the app should run, and the runner has not started it. */
function isStarting(
  { desired }: EnvironmentState,
  wasLive: boolean,
  inRunner: EnvironmentStatus | undefined,
): boolean {
  return wasLive && desired === 'running' && !inRunner?.active;
}

function later(iso: string, date: Date | null): string {
  return date === null || Date.parse(iso) > date.getTime() ? iso : date.toISOString();
}
