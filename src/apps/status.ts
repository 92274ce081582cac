import type { TargetState } from '../config/environment-state.ts';
import type { TargetStatus } from '../protocol/runner.ts';
import type { Site } from './environment.ts';
import { siteUrl } from './release-view.ts';
import type { AppState, AppStatus } from './service.ts';

/** @param running what the runner says of all targets */
export async function siteStatus(site: Site, running: TargetStatus[]): Promise<AppStatus> {
  const [state, active] = await Promise.all([site.state(), site.store.active()]);
  const live = active === null ? undefined : await site.store.get(active.release);
  const inRunner = running.find(({ key }) => key === site.name);
  return {
    name: site.target.app,
    environment: site.target.environment,
    ...appState(state, active !== null, inRunner, site.appliance.runner.connectedSince),
    crash: inRunner?.crash ?? null,
    problem: isStarting(state, active !== null, inRunner) ? site.problem : null,
    url: siteUrl(site, state, live?.protocol),
    domains: site.appliance.domains.of(site.target),
    port: state.port,
    release: active?.release ?? null,
    wanted: inRunner?.active?.workers ?? null,
    workers: inRunner?.workers ?? [],
    background: inRunner?.background ?? [],
    cron: inRunner?.cron ?? [],
    descriptors: inRunner?.descriptors ?? 0,
    deploying: [...site.deployments.values()]
      .filter((deployment) => deployment.isUnderWay)
      .map((deployment) => deployment.number),
    rebuild: active === null && state.desired === 'running' ? state.rebuild : null,
  };
}

function appState(
  { desired, desiredSince, createdAt }: TargetState,
  wasLive: boolean,
  inRunner: TargetStatus | undefined,
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
function isStarting({ desired }: TargetState, wasLive: boolean, inRunner: TargetStatus | undefined): boolean {
  return wasLive && desired === 'running' && !inRunner?.active;
}

function later(iso: string, date: Date | null): string {
  return date === null || Date.parse(iso) > date.getTime() ? iso : date.toISOString();
}
