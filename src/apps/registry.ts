import { chmod, mkdir, readdir, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  ensureEnvironmentState,
  listEnvironmentsWithState,
  loadEnvironmentState,
} from '../config/environment-state.ts';
import { type EnvironmentId, environmentName, isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { exists } from '../system/fs/exists.ts';
import { isTemporary, listDirectory, sweepTemporaries, syncDirectory } from '../system/fs/files.ts';
import { emptyDirectory, removeTree } from '../system/fs/remove-tree.ts';
import { AppRepository } from './app-repository.ts';
import type { Appliance } from './appliance.ts';
import { appNotFound, Environment } from './environment.ts';
import { removeAllOf } from './files.ts';

/** Directories in the home with this prefix are apps that were removed and whose files are still being deleted. */
const removing = '.removing-';

/** All targets, and the repositories that they are pushed to: there is one object for each, for as long as it exists. */
export class Registry {
  readonly #appliance: Appliance;
  readonly #environments = new Map<string, Environment>();
  readonly #repositories = new Map<string, AppRepository>();
  /** for each app: one that is being removed is created again only when it is gone */
  readonly #changing = new Map<string, Slots>();

  constructor(appliance: Appliance) {
    this.#appliance = appliance;
  }

  /** @throws AppError `app_not_found`, `invalid_name` */
  async find(target: EnvironmentId): Promise<Environment> {
    checkNames(target);
    const name = environmentName(target);
    const state = await loadEnvironmentState(this.#appliance.paths.environment(target).state);
    if (state === undefined) throw appNotFound(name);
    return this.#environment(target);
  }

  /**
   * Calls `work` with an existing environment. The environment is not removed as unused while `work` runs.
   * @throws AppError `app_not_found`, `invalid_name`; what `work` throws
   */
  async withEnvironment<T>(
    target: EnvironmentId,
    work: (environment: Environment) => Promise<T>,
  ): Promise<T> {
    const environment = await this.#visit(target);
    try {
      return await work(environment);
    } finally {
      await this.#leave(environment);
    }
  }

  /**
   * Calls `work` with an existing environment, which stays afterwards, even if it is unused.
   * @throws AppError `app_not_found`, `invalid_name`; what `work` throws
   */
  async withOneKept<T>(target: EnvironmentId, work: (environment: Environment) => Promise<T>): Promise<T> {
    const environment = await this.#visit(target);
    try {
      return await work(environment);
    } finally {
      environment.visitors -= 1;
    }
  }

  /** Enters an environment under the lock of its app: the end of another visit may remove an unused app. */
  async #visit(target: EnvironmentId): Promise<Environment> {
    // No lock is made for an app that does not exist.
    await this.find(target);
    using _ = await this.#change(target.app);
    const environment = await this.find(target);
    environment.visitors += 1;
    return environment;
  }

  /**
   * Calls `work` with an environment, which is made if it does not exist. If the environment is unused after `work`, it is removed.
   * @throws AppError `invalid_name`; what `work` throws
   */
  async withOneMade<T>(target: EnvironmentId, work: (environment: Environment) => Promise<T>): Promise<T> {
    const environment = await this.#enter(target);
    try {
      return await work(environment);
    } finally {
      await this.#leave(environment);
    }
  }

  async #enter(target: EnvironmentId): Promise<Environment> {
    checkNames(target);
    const { paths, settings, runner } = this.#appliance;
    using _ = await this.#change(target.app);
    const isNew = !(await exists(paths.environment(target).state));
    // Removals are finished first: a removal ends all processes of the app's user, and the new app gets the same user.
    if (isNew && (await runner.hasUsers())) await this.#finishRemovals(target.app);
    await ensureEnvironmentState(paths, target, settings.apps);
    if (isNew) await this.#appliance.holdPorts();
    const environment = this.#environment(target);
    environment.visitors += 1;
    try {
      await environment.files.prepare();
      return environment;
    } catch (error) {
      await this.#discardUnused(environment);
      throw error;
    }
  }

  async #leave(environment: Environment): Promise<void> {
    using _ = await this.#change(environment.id.app);
    await this.#discardUnused(environment);
  }

  /** Ends one visit, and removes the environment if it is unused. The caller has the right to change the app. */
  async #discardUnused(environment: Environment): Promise<void> {
    environment.visitors -= 1;
    try {
      const isThere = this.#environments.get(environment.name) === environment;
      if (isThere && environment.visitors === 0 && (await environment.isUnused()))
        await this.#discard(environment);
    } catch (error) {
      // The app stays, without a release. The outcome of `work` is reported all the same.
      this.#appliance.log.error('unused app not removed', { app: environment.name, error });
    }
  }

  async #discard({ id, name }: Environment): Promise<void> {
    const { app, environment } = id;
    const { paths } = this.#appliance;
    const aside = join(paths.home, `${removing}${app}-${Date.now()}`);
    await mkdir(aside);
    // If the app has a user, this user removes the files in it.
    await chmod(aside, 0o711);
    await rename(paths.environment(id).directory, join(aside, environment));
    this.#environments.delete(name);
    // If the app has a repository, the end of the push removes the directory.
    if ((await listDirectory(paths.app(app))).length === 0) await removeTree(paths.app(app));
    await syncDirectory(paths.apps);
    await this.#appliance.holdPorts();
    await this.#removeAside(app, aside);
  }

  /** All environments of one app. */
  async of(app: string): Promise<Environment[]> {
    return (await this.all()).filter(({ id }) => id.app === app);
  }

  /** What was pushed to an app. @throws AppError `app_not_found` where nothing ever was, `invalid_name` */
  async findRepository(app: string): Promise<AppRepository> {
    checkName('an app', app);
    const repository =
      this.#repositories.get(app) ?? new AppRepository(this.#appliance.paths.repository(app));
    if (!(await repository.exists)) throw appNotFound(app);
    return this.repository(app);
  }

  /** The same, whether or not anything was. @throws AppError `invalid_name` */
  repository(app: string): AppRepository {
    checkName('an app', app);
    const repository =
      this.#repositories.get(app) ?? new AppRepository(this.#appliance.paths.repository(app));
    this.#repositories.set(app, repository);
    return repository;
  }

  /**
   * What an app is pushed to, made where it is not there yet, and kept for as long as what is returned is not disposed of.
   * @throws AppError `invalid_name`
   */
  async openRepository(app: string): Promise<{ repository: AppRepository } & Disposable> {
    checkName('an app', app);
    using _ = await this.#change(app);
    const repository = this.repository(app);
    await repository.ensure();
    const entered = repository.enter();
    return { repository, [Symbol.dispose]: () => entered[Symbol.dispose]() };
  }

  /** Waits for a removal that is under way; then returns true if the app has no repository. @throws AppError `invalid_name` */
  async lacksRepository(app: string): Promise<boolean> {
    using _ = await this.#change(app);
    return !(await this.repository(app).exists);
  }

  /** Names of all that has something on the disk, whether or not it has come to be an app. */
  async names(): Promise<string[]> {
    return (await listDirectory(this.#appliance.paths.apps)).filter(isName);
  }

  /**
   * Removes what pushes have left that are over, where no other is under way: objects that git did not take in, which one
   * that is killed leaves, and the repository of what has not become an app.
   */
  async tidyUp(app: string): Promise<void> {
    // What is no name could lead anywhere.
    if (!isName(app)) return;
    using _ = await this.#change(app);
    const repository = this.repository(app);
    if (repository.isBusy) return;
    const { paths } = this.#appliance;
    const directory = basename(paths.repository(app));
    const isOfPush = (name: string) => name === directory || isTemporary(name);
    // What is there besides, in whatever state it is, is nothing that a push has left.
    if ((await listDirectory(paths.app(app))).every(isOfPush)) {
      this.#repositories.delete(app);
      await removeTree(paths.app(app));
    } else if (await repository.exists) await repository.sweepObjects();
  }

  /** All there are, by name. */
  async all(): Promise<Environment[]> {
    const targets = await listEnvironmentsWithState(this.#appliance.paths);
    return targets.map((target) => this.#environment(target)).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Removes an app with all that it kept, once `windUp` has ended what runs of it; what that returns is disposed of when
   * the app is gone. That is one step, whatever becomes of us while its files are deleted.
   * @param gone called after that step, whatever comes of its files
   * @throws AppError `app_not_found`, `invalid_name`
   */
  async remove(
    app: string,
    windUp: (environment: Environment) => Promise<Disposable>,
    gone: () => Promise<void>,
  ): Promise<void> {
    checkName('an app', app);
    using _ = await this.#change(app);
    const environments = await this.of(app);
    if (environments.length === 0) throw appNotFound(app);
    using held = new DisposableStack();
    for (const environment of environments) held.use(await windUp(environment));
    const { paths } = this.#appliance;
    const aside = join(paths.home, `${removing}${app}-${Date.now()}`);
    await rename(paths.app(app), aside);
    for (const environment of environments) this.#environments.delete(environment.name);
    this.#repositories.delete(app);
    await syncDirectory(paths.apps);
    // Each whatever comes of the other: the app is gone, and nobody can ask for it again.
    const outcomes = await Promise.allSettled([this.#removeAside(app, aside), gone()]);
    await this.#appliance.holdPorts();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Finishes removals that a crash cut short, and removes what backups and restores have left that were killed. */
  async sweep(): Promise<void> {
    const { home } = this.#appliance.paths;
    await sweepTemporaries(home);
    for (const name of await readdir(home)) {
      const app = removedApp(name);
      if (app === undefined) continue;
      try {
        await this.#removeAside(app, join(home, name));
      } catch (error) {
        // What cannot be removed must not keep all the apps that there are from being served.
        this.#appliance.log.error('removed app still has files', { path: name, error });
      }
    }
  }

  async #finishRemovals(app: string): Promise<void> {
    const { home } = this.#appliance.paths;
    for (const name of await readdir(home)) {
      if (removedApp(name) === app) await this.#removeAside(app, join(home, name));
    }
  }

  /** @param aside where all that the app had lies now */
  async #removeAside(app: string, aside: string): Promise<void> {
    const { runner, paths, log } = this.#appliance;
    const thereAgain: string[] = [];
    const environments = (await runner.hasUsers()) ? (await listDirectory(aside)).filter(isName) : [];
    for (const environment of environments) {
      const key = environmentName({ app, environment });
      // The app was created again: its user, and all processes of this user, belong to the new app.
      if (await exists(paths.environment({ app, environment }).state)) {
        thereAgain.push(key);
        continue;
      }
      await removeAllOf(this.#appliance, key, join(aside, environment));
      // What could not be removed keeps the user: nobody else is to get its uid.
      await emptyDirectory(join(aside, environment), 'logs');
      await runner.call('forget', { key, aside: basename(aside) });
    }
    if (thereAgain.length === 0) await removeTree(aside);
    else log.warn('files of a removed app stay until the new app is removed', { path: aside, thereAgain });
  }

  /** The right to make or to remove what an app has on the disk, until what is returned is disposed of. */
  #change(app: string): Promise<Disposable> {
    const slot = this.#changing.get(app) ?? new Slots(1);
    this.#changing.set(app, slot);
    return slot.take();
  }

  #environment(target: EnvironmentId): Environment {
    const name = environmentName(target);
    const environment =
      this.#environments.get(name) ?? new Environment(this.#appliance, target, () => this.all());
    this.#environments.set(name, environment);
    return environment;
  }
}

/** Returns the app whose files are in a directory of the home; undefined if `name` is not the name of a removed app's files. */
function removedApp(name: string): string | undefined {
  return name.startsWith(removing) ? name.slice(removing.length).replace(/-\d+$/, '') : undefined;
}

function checkNames({ app, environment }: EnvironmentId): void {
  checkName('an app', app);
  checkName('an environment', environment);
}

function checkName(what: string, name: string): void {
  if (isName(name)) return;
  throw new AppError('invalid_name', `"${name}" cannot be the name of ${what}`, {
    hint: 'Names are 1 to 40 small letters, digits and hyphens, and begin with a letter.',
  });
}
