import type { TargetState } from '../config/target-state.ts';
import type { TargetStatus } from '../protocol/runner.ts';
import { siteUrl } from './release-view.ts';
import type { AppState, AppStatus } from './service.ts';
import type { Site } from './site.ts';

/** @param running what the runner says of all targets */
export async function siteStatus(site: Site, running: TargetStatus[]): Promise<AppStatus> {
  const [state, active] = await Promise.all([site.state(), site.store.active()]);
  const inRunner = running.find(({ key }) => key === site.name);
  return {
    name: site.target.app,
    environment: site.target.environment,
    state: appState(state, active !== null, inRunner),
    url: siteUrl(site.appliance.settings, state),
    port: state.port,
    release: active?.release ?? null,
    workers: inRunner?.workers ?? [],
    deploying: [...site.deployments.values()]
      .filter((deployment) => deployment.isUnderWay)
      .map((deployment) => deployment.number),
  };
}

function appState({ desired }: TargetState, wasLive: boolean, inRunner: TargetStatus | undefined): AppState {
  if (!wasLive) return 'empty';
  if (desired === 'stopped') return 'stopped';
  const generation = inRunner?.active?.generation;
  const answers = inRunner?.workers.some(
    (worker) => worker.generation === generation && worker.state === 'open',
  );
  return answers ? 'running' : 'starting';
}
