import {
  type EnvironmentState,
  loadEnvironmentState,
  saveEnvironmentState,
} from '../config/environment-state.ts';
import { type EnvironmentId, type EnvironmentPaths, environmentName } from '../config/paths.ts';
import { AppError, type ErrorBody } from '../errors/app-error.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { ReleaseStore } from '../releases/store.ts';
import { Lock } from '../system/concurrency/slots.ts';
import type { Appliance } from './appliance.ts';
import { DeployQueue } from './deploy-queue.ts';
import { emptyRelease } from './files.ts';
import { loadVariableSet, type VariableSet } from './variable-set.ts';

/** Reason why an app could not be started. */
export interface Problem extends ErrorBody {
  /** ISO 8601 */
  at: string;
}

/** One app in one environment: its files, and the locks of what changes it. */
export class Environment {
  readonly appliance: Appliance;
  readonly id: EnvironmentId;
  /** `shop`, or `shop@staging` */
  readonly name: string;
  readonly paths: EnvironmentPaths;
  readonly store: ReleaseStore;
  /** deploys under way */
  readonly deploys = new DeployQueue();
  /**
   * Lock of the traffic, from the boot of a generation until its switch is committed. A deploy takes the lock after its
   * build, so that a rollback never waits for a build.
   */
  readonly trafficLock = new Lock();
  /** true if a failed switch could not take back a change on the disk: the running app does not have the change */
  hasUnappliedChange = false;
  /** why the last attempt to start the app failed; null if it succeeded */
  problem: Problem | null = null;
  /** watch over a release that was deployed, until it ends: see followWatch */
  watch: { release: number; ended: Promise<void> } | undefined;
  /** time of the last automatic rollback that is recorded or being recorded, ISO 8601; undefined if none is known */
  lastRevert: string | undefined;
  /** true while the app is being removed: no one-off command may go on then */
  isBeingRemoved = false;
  /** number of callers that use this environment now: it is removed as unused only after the last caller */
  visitors = 0;
  /** returns all environments, this one included */
  readonly all: () => Promise<Environment[]>;

  constructor(appliance: Appliance, id: EnvironmentId, all: () => Promise<Environment[]>) {
    this.appliance = appliance;
    this.all = all;
    this.id = id;
    this.name = environmentName(id);
    this.paths = appliance.paths.environment(id);
    const empty = (directory: string, except: string) => emptyRelease(this, directory, except);
    this.store = new ReleaseStore(id, this.paths, empty, (release, error) =>
      appliance.log.error('failed release not finished', { app: this.name, release, error }),
    );
  }

  /** True while the environment is used or changed, its release is watched, or a failed change could not be undone. */
  get isBusy(): boolean {
    const isUsed = this.visitors > 0 || this.deploys.size > 0 || this.trafficLock.busy;
    return isUsed || this.watch !== undefined || this.isBeingRemoved || this.hasUnappliedChange;
  }

  /** @throws AppError `app_not_found` */
  async state(): Promise<EnvironmentState> {
    const state = await loadEnvironmentState(this.paths.state);
    if (state === undefined) throw appNotFound(this.name);
    return state;
  }

  /**
   * Returns true if the app is unused: each of its deploys was refused before the build, and it has no variables, workers
   * or domains.
   */
  async isUnused(): Promise<boolean> {
    // The cheap checks come first: an app may have thousands of releases.
    if ((await this.store.active()) !== null || this.appliance.domains.of(this.id).length > 0) return false;
    const { workers, desired, rebuild } = await this.state();
    if (workers !== null || desired !== 'running' || rebuild !== null) return false;
    const { app, build } = await this.variableSet();
    if (Object.keys({ ...app, ...build }).length > 0) return false;
    const isRefused = ({ liveAt, error }: ReleaseRecord) =>
      liveAt === null && error !== null && beforeTheBuild.has(error.step);
    return (await this.store.list()).every(isRefused);
  }

  /** Returns the release that has the traffic, or had it last; undefined if none has been live. */
  async liveRelease(): Promise<ReleaseRecord | undefined> {
    const active = await this.store.active();
    return active === null ? undefined : this.store.get(active.release);
  }

  /** Returns the release that has the traffic, or had it last. @throws AppError `not_deployed` */
  async requireLiveRelease(): Promise<ReleaseRecord> {
    const release = await this.liveRelease();
    if (release !== undefined) return release;
    throw new AppError('not_deployed', `${this.name} has no live release`, {
      hint: `Deploy one: \`sluice deploy --app ${this.id.app}\`.`,
    });
  }

  /** Returns true if the runner has an active generation of the app. */
  async isRunning(): Promise<boolean> {
    const [running] = await this.appliance.runner.status(this.name);
    return running !== undefined && running.active !== null;
  }

  /** Returns the variables that were set for the app and its builds. */
  async variables(): Promise<Record<string, string>> {
    return (await this.variableSet()).app;
  }

  /** Returns all variables that were set, with what is known about them. */
  variableSet(): Promise<VariableSet> {
    return loadVariableSet(this.paths);
  }

  /** Records whether the app should run, and the time of the change. */
  async desire(desired: EnvironmentState['desired']): Promise<void> {
    if ((await this.state()).desired === desired) return;
    await this.changeState({ desired, desiredSince: new Date().toISOString() });
  }

  /** Writes changes of the state, if there are any. */
  async changeState(changes: Partial<EnvironmentState>): Promise<void> {
    const state = await this.state();
    const changed = { ...state, ...changes };
    if (JSON.stringify(changed) !== JSON.stringify(state))
      await saveEnvironmentState(this.paths.state, changed);
  }
}

/** Steps of a deploy before the build. A deploy that fails at one of them was refused for its upload. */
const beforeTheBuild = new Set(['receive', 'wait', 'check']);

/** Returns the error for an app that does not exist. */
export function appNotFound(name: string): AppError {
  return new AppError('app_not_found', `app ${name} not found`, {
    hint: 'List apps: `sluice apps`. The first deploy of an app creates it.',
  });
}
