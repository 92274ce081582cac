import {
  type EnvironmentState,
  loadEnvironmentState,
  saveEnvironmentState,
} from '../config/environment-state.ts';
import { type EnvironmentId, type EnvironmentPaths, environmentName } from '../config/paths.ts';
import { AppError, type ErrorBody } from '../errors/app-error.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { ReleaseStore } from '../releases/store.ts';
import { Slots } from '../system/concurrency/slots.ts';
import type { Appliance } from './appliance.ts';
import { DeployQueue } from './deploy-queue.ts';
import { AppFiles } from './files.ts';

import { loadVariables } from './variables.ts';

/** Reason why an app could not be started. */
export interface Problem extends ErrorBody {
  /** ISO 8601 */
  at: string;
}

/** An app in one environment, as the server has it in memory: what it keeps on the disk, and who may change it now. */
export class Environment {
  readonly appliance: Appliance;
  readonly id: EnvironmentId;
  /** `shop`, or `shop@staging` */
  readonly name: string;
  readonly paths: EnvironmentPaths;
  readonly store: ReleaseStore;
  readonly files: AppFiles;
  /** deploys under way */
  readonly deploys = new DeployQueue();
  /**
   * Held by whoever moves the traffic, from the boot of a generation until its switch is on record. A deploy takes it
   * only when it has been built: nobody who must roll back waits for a build.
   */
  readonly traffic = new Slots(1);
  /** true if a failed switch could not take back a change on the disk: the running app is without the change */
  isAhead = false;
  /** why the last attempt to start the app failed; null if it succeeded */
  problem: Problem | null = null;
  /** number of callers that use this environment now: an unused environment is removed only when the last caller is done */
  visitors = 0;

  /** all environments there are, this one included */
  readonly all: () => Promise<Environment[]>;

  constructor(appliance: Appliance, target: EnvironmentId, all: () => Promise<Environment[]>) {
    this.appliance = appliance;
    this.all = all;
    this.id = target;
    this.name = environmentName(target);
    this.paths = appliance.paths.environment(target);
    this.files = new AppFiles(appliance, this.name, this.paths);
    this.store = new ReleaseStore(target, this.paths, this.files.empty, (release, error) =>
      appliance.log.error('failed release not finished', { app: this.name, release, error }),
    );
  }

  /** @throws AppError `app_not_found` */
  async state(): Promise<EnvironmentState> {
    const state = await loadEnvironmentState(this.paths.state);
    if (state === undefined) throw appNotFound(this.name);
    return state;
  }

  /**
   * Returns true if the app is unused: each of its deploys was refused before the build, and nobody has set variables,
   * workers or domains for it.
   */
  async isUnused(): Promise<boolean> {
    // First what nearly each app in use has: a history may have thousands of releases.
    if ((await this.store.active()) !== null || this.appliance.domains.of(this.id).length > 0) return false;
    const { workers, desired, rebuild } = await this.state();
    if (workers !== null || desired !== 'running' || rebuild !== null) return false;
    if (Object.keys(await this.variables()).length > 0) return false;
    const isRefused = ({ liveAt, error }: ReleaseRecord) =>
      liveAt === null && error !== null && beforeTheBuild.has(error.step);
    return (await this.store.list()).every(isRefused);
  }

  /** Returns the release that has the traffic, or had it last; undefined if none has been live. */
  async liveRelease(): Promise<ReleaseRecord | undefined> {
    const active = await this.store.active();
    return active === null ? undefined : this.store.get(active.release);
  }

  /** Its own variables. */
  variables(): Promise<Record<string, string>> {
    return loadVariables(this.paths.env);
  }

  /** What its operator wants, and since when. */
  async desire(desired: EnvironmentState['desired']): Promise<void> {
    if ((await this.state()).desired === desired) return;
    await this.changeState({ desired, desiredSince: new Date().toISOString() });
  }

  /** Changes what is kept of it, as far as it is a change. */
  async changeState(changes: Partial<EnvironmentState>): Promise<void> {
    const state = await this.state();
    const changed = { ...state, ...changes };
    if (JSON.stringify(changed) !== JSON.stringify(state))
      await saveEnvironmentState(this.paths.state, changed);
  }
}

/** Steps of a deploy before the build. A deploy that fails at one of them was refused for its upload. */
const beforeTheBuild = new Set(['receive', 'wait', 'check']);

export function appNotFound(name: string): AppError {
  return new AppError('app_not_found', `there is no app ${name}`, {
    hint: '`sluice apps` lists the ones there are. The first deploy of an app creates it.',
  });
}
