import type { EnvironmentState } from '../config/environment-state.ts';
import type { EnvironmentStatus } from '../protocol/runner.ts';
import type { Environment } from './environment.ts';
import { siteUrl } from './release-view.ts';
import type { AppState, AppStatus } from './service.ts';

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
    deploying: [...environment.deployments.values()]
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
