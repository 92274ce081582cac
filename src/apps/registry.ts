import { chmod, mkdir, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  ensureEnvironmentState,
  listEnvironmentsWithState,
  loadEnvironmentState,
} from '../config/environment-state.ts';
import { type EnvironmentId, environmentName, isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { LockByKey } from '../system/concurrency/slots.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import { listDirectory, syncDirectory } from '../system/fs/files.ts';
import { removeTree } from '../system/fs/remove-tree.ts';
import { isTemporary, sweepTemporaries } from '../system/fs/temporaries.ts';
import { AppRepository } from './app-repository.ts';
import type { Appliance } from './appliance.ts';
import { appNotFound, Environment } from './environment.ts';
import { prepareFiles } from './files.ts';
import { finishRemoval, isRemoved, newRemoval, type RemovedId, unfinishedRemovals } from './removal.ts';

interface UseOptions {
  /** creates the environment if it does not exist */
  create?: boolean;
  /** removes the environment afterwards if it is unused */
  removeUnused?: boolean;
}

/** Path of a removed app or environment, and the outcome of the call that reported its removal. */
interface MovedAside {
  aside: string;
  reported: PromiseSettledResult<void>;
}

/** All environments and repositories of apps. Each has one object for as long as it exists. */
export class Registry {
  readonly #appliance: Appliance;
  readonly #environments = new Map<string, Environment>();
  readonly #repositories = new Map<string, AppRepository>();
  /** a lock for each app, for steps that are short */
  readonly #locks = new LockByKey();
  /** a lock for each app: one of its removals drains at a time */
  readonly #removals = new LockByKey();
  /** environments that drain before their removal, by name, with the end of it: callers who want to use them wait */
  readonly #draining = new Map<string, Promise<void>>();
  /** deletions of files under way, by path */
  readonly #finishing = new Map<string, Promise<void>>();

  constructor(appliance: Appliance) {
    this.#appliance = appliance;
  }

  /** True while an environment is in use, or files of a removed one are deleted. */
  get isBusy(): boolean {
    return this.#finishing.size > 0 || [...this.#environments.values()].some(({ isBusy }) => isBusy);
  }

  /** Returns all environments, by name. */
  async all(): Promise<Environment[]> {
    const ids = await listEnvironmentsWithState(this.#appliance.paths);
    return ids.map((id) => this.#environment(id)).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Returns all environments of one app. */
  async of(app: string): Promise<Environment[]> {
    return (await this.all()).filter(({ id }) => id.app === app);
  }

  /** @throws AppError `app_not_found`, `invalid_name` */
  async find(id: EnvironmentId): Promise<Environment> {
    checkNames(id);
    const state = await loadEnvironmentState(this.#appliance.paths.environment(id).state);
    if (state === undefined) throw appNotFound(environmentName(id));
    return this.#environment(id);
  }

  /**
   * Calls `work` with an environment, which is not removed as unused while `work` runs.
   * @throws AppError `app_not_found`, `invalid_name`; errors of `work`
   */
  async use<T>(
    id: EnvironmentId,
    work: (environment: Environment) => Promise<T>,
    { create = false, removeUnused = create }: UseOptions = {},
  ): Promise<T> {
    const environment = create ? await this.#enterOrCreate(id) : await this.#enter(id);
    try {
      return await work(environment);
    } finally {
      if (removeUnused) {
        using _ = await this.#locks.take(id.app);
        await this.#leaveAndRemoveUnused(environment);
      } else environment.visitors -= 1;
    }
  }

  /** Enters an environment under the lock of its app, because the end of another visit may remove it. */
  async #enter(id: EnvironmentId): Promise<Environment> {
    using _ = await this.#takeUndrained(id);
    const environment = await this.find(id);
    environment.visitors += 1;
    return environment;
  }

  async #enterOrCreate(id: EnvironmentId): Promise<Environment> {
    checkNames(id);
    const { paths, settings } = this.#appliance;
    // This may take minutes, so other environments of the app do not wait for it.
    await this.#finishRemovals(id);
    using _ = await this.#takeUndrained(id);
    const isNew = !(await exists(paths.environment(id).state));
    if (isNew) await this.#finishRemovals(id);
    await ensureEnvironmentState(paths, id, settings.apps);
    if (isNew) await this.#appliance.reservePorts();
    const environment = this.#environment(id);
    environment.visitors += 1;
    try {
      await prepareFiles(environment);
      return environment;
    } catch (error) {
      await this.#leaveAndRemoveUnused(environment);
      throw error;
    }
  }

  /** Waits for a removal of an environment that is under way, and takes the lock of the app. */
  async #takeUndrained(id: EnvironmentId): Promise<Disposable> {
    for (;;) {
      using taken = new DisposableStack();
      taken.use(await this.#locks.take(id.app));
      const drained = this.#draining.get(environmentName(id));
      if (drained === undefined) return taken.move();
      taken.dispose();
      await drained;
    }
  }

  /**
   * Finishes removals of an environment that is to be created again: a removal ends all processes of the environment's user, and
   * the new environment gets the same user.
   */
  async #finishRemovals({ app, environment }: EnvironmentId): Promise<void> {
    const { paths, runner } = this.#appliance;
    if (!(await runner.hasUsers())) return;
    for (const aside of await unfinishedRemovals(paths, app))
      if (await exists(join(aside, environment))) await this.#finish(aside);
  }

  /** Deletes the files of a removal, or waits until they are deleted. */
  #finish(aside: string): Promise<void> {
    const finishing =
      this.#finishing.get(aside) ??
      finishRemoval(this.#appliance, aside).finally(() => this.#finishing.delete(aside));
    this.#finishing.set(aside, finishing);
    return finishing;
  }

  /** Ends a visit, and removes the environment if it is unused. The caller has the lock of the app. */
  async #leaveAndRemoveUnused(environment: Environment): Promise<void> {
    environment.visitors -= 1;
    try {
      const isCurrent = this.#environments.get(environment.name) === environment;
      if (isCurrent && environment.visitors === 0 && (await environment.isUnused())) {
        await this.#removeUnused(environment);
      }
    } catch (error) {
      // The app stays, without a release. The outcome of the visit is reported all the same.
      this.#appliance.log.error('unused app not removed', { app: environment.name, error });
    }
  }

  async #removeUnused(environment: Environment): Promise<void> {
    const aside = await this.#moveAside(environment);
    await this.#appliance.reservePorts();
    await this.#finish(aside);
  }

  /** Moves the files of one environment aside in one step. Returns their path, for `finishRemoval`. */
  async #moveAside({ id, name, paths: { directory } }: Environment): Promise<string> {
    const { paths } = this.#appliance;
    const aside = newRemoval(paths, id.app);
    await mkdir(aside);
    // If the app has a user, this user removes the files in it.
    await chmod(aside, 0o711);
    await rename(directory, join(aside, id.environment));
    this.#environments.delete(name);
    // If the app has a repository, `tidyUp` removes the directory.
    if ((await listDirectory(paths.app(id.app))).length === 0) await removeTree(paths.app(id.app));
    await syncDirectory(paths.apps);
    return aside;
  }

  /** Moves the files of an app aside in one step. Returns their path, for `finishRemoval`. */
  async #moveAllAside(app: string, environments: Environment[]): Promise<string> {
    const { paths } = this.#appliance;
    const aside = newRemoval(paths, app);
    await rename(paths.app(app), aside);
    for (const environment of environments) this.#environments.delete(environment.name);
    this.#repositories.delete(app);
    await syncDirectory(paths.apps);
    return aside;
  }

  /**
   * Removes an app with all its environments, or one environment. It is gone in one step, even if Sluice ends while its files
   * are deleted.
   * @param endForRemoval ends everything that runs in an environment; its result is disposed of after the removal
   * @param gone called after that step, before the app can be created again; `isLast` if the app has no environment left
   * @throws AppError `app_not_found`, `invalid_name`
   */
  async remove(
    removed: RemovedId,
    endForRemoval: (environment: Environment) => Promise<Disposable>,
    gone: (isLast: boolean) => Promise<void>,
  ): Promise<void> {
    const { app, environment } = removed;
    checkName('an app', app);
    if (environment !== null) checkName('an environment', environment);
    const { aside, reported } = await (environment === null
      ? this.#removeAll(app, endForRemoval, gone)
      : this.#removeOne({ app, environment }, endForRemoval, gone));
    // The files are deleted even if `gone` failed: the app is gone, so nobody can remove it again.
    const outcomes = [reported, ...(await Promise.allSettled([this.#finish(aside)]))];
    await this.#appliance.reservePorts();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async #removeAll(
    app: string,
    endForRemoval: (environment: Environment) => Promise<Disposable>,
    gone: (isLast: boolean) => Promise<void>,
  ): Promise<MovedAside> {
    using _removal = await this.#removals.take(app);
    using _ = await this.#locks.take(app);
    const environments = await this.of(app);
    if (environments.length === 0) throw appNotFound(app);
    using locks = new DisposableStack();
    for (const environment of environments) locks.use(await endForRemoval(environment));
    const aside = await this.#moveAllAside(app, environments);
    const [reported] = await Promise.allSettled([gone(true)]);
    return { aside, reported };
  }

  /** Removes one environment. Only callers of this environment wait while it drains. */
  async #removeOne(
    id: EnvironmentId,
    endForRemoval: (environment: Environment) => Promise<Disposable>,
    gone: (isLast: boolean) => Promise<void>,
  ): Promise<MovedAside> {
    using _removal = await this.#removals.take(id.app);
    const { promise: drained, resolve } = Promise.withResolvers<void>();
    const environment = await this.#locks.run(id.app, async () => {
      const found = (await this.of(id.app)).find((each) => isRemoved(id, each.id));
      if (found === undefined) throw appNotFound(environmentName(id));
      // As a visitor, the removal prevents that the environment is removed as unused meanwhile.
      found.visitors += 1;
      this.#draining.set(found.name, drained);
      return found;
    });
    try {
      using _ended = await endForRemoval(environment);
      using _ = await this.#locks.take(id.app);
      const aside = await this.#moveAside(environment);
      await this.#settle(id.app);
      const isLast = (await this.of(id.app)).length === 0;
      const [reported] = await Promise.allSettled([gone(isLast)]);
      return { aside, reported };
    } finally {
      environment.visitors -= 1;
      this.#draining.delete(environment.name);
      resolve();
    }
  }

  /**
   * Sets the branches to the environments that are left, so that the next push of the removed one deploys. Removes the repository
   * if none is left. The caller has the lock of the app.
   */
  async #settle(app: string): Promise<void> {
    try {
      await this.repository(app).align(await this.of(app));
      await this.#tidyUp(app);
    } catch (error) {
      this.#appliance.log.error('branches not moved', { app, error });
    }
  }

  /** Finishes removals after a crash, and removes temporary files of backups and restores that were killed. */
  async sweep(): Promise<void> {
    const { paths, log } = this.#appliance;
    await sweepTemporaries(paths.home);
    for (const aside of await unfinishedRemovals(paths)) {
      await finishRemoval(this.#appliance, aside).catch((error: unknown) => {
        // Files that cannot be removed must not stop the other apps.
        log.error('removed app still has files', { path: basename(aside), error });
      });
    }
  }

  /** Returns the repository of an app, which may have no files yet. @throws AppError `invalid_name` */
  repository(app: string): AppRepository {
    checkName('an app', app);
    const { paths } = this.#appliance;
    const repository = this.#repositories.get(app) ?? new AppRepository(paths.repository(app));
    this.#repositories.set(app, repository);
    return repository;
  }

  /** Returns the repository of an app. @throws AppError `app_not_found` if nothing was ever pushed, `invalid_name` */
  async findRepository(app: string): Promise<AppRepository> {
    checkName('an app', app);
    const repository =
      this.#repositories.get(app) ?? new AppRepository(this.#appliance.paths.repository(app));
    // Nothing is kept in memory for an app that does not exist.
    if (!(await repository.exists)) throw appNotFound(app);
    return this.repository(app);
  }

  /**
   * Begins a push. Returns the repository of the app, which is created if it does not exist, and stays until `pushes` is
   * decreased.
   * @throws AppError `invalid_name`
   */
  async beginPush(app: string): Promise<AppRepository> {
    checkName('an app', app);
    using _ = await this.#locks.take(app);
    const repository = this.repository(app);
    await repository.ensure();
    repository.pushes += 1;
    return repository;
  }

  /** Waits for a removal under way. Then returns true if the app has no repository. @throws AppError `invalid_name` */
  async lacksRepository(app: string): Promise<boolean> {
    using _ = await this.#locks.take(app);
    return !(await this.repository(app).exists);
  }

  /** Returns the names of all apps, and of repositories without an app. */
  async names(): Promise<string[]> {
    return (await listDirectory(this.#appliance.paths.apps)).filter(isName);
  }

  /**
   * Removes leftovers of pushes, if no push is under way: objects of killed pushes, and the repository of an app that was
   * never created.
   */
  async tidyUp(app: string): Promise<void> {
    // An invalid name could be a path to anywhere.
    if (!isName(app)) return;
    using _ = await this.#locks.take(app);
    await this.#tidyUp(app);
  }

  async #tidyUp(app: string): Promise<void> {
    const repository = this.repository(app);
    if (repository.pushes > 0) return;
    const { paths } = this.#appliance;
    const directory = basename(paths.repository(app));
    const isOfPush = (name: string) => name === directory || isTemporary(name);
    // Any other entry of the directory is not from a push, even if it is damaged.
    if ((await listDirectory(paths.app(app))).every(isOfPush)) {
      this.#repositories.delete(app);
      // Moved first: if this process dies, a program that still removes files must not find those of the next push.
      const aside = newRemoval(paths, app);
      await ifThere(rename(paths.app(app), aside));
      await removeTree(aside);
    } else if (await repository.exists) await repository.sweepObjects();
  }

  #environment(id: EnvironmentId): Environment {
    const name = environmentName(id);
    const environment =
      this.#environments.get(name) ?? new Environment(this.#appliance, id, () => this.all());
    this.#environments.set(name, environment);
    return environment;
  }
}

function checkNames({ app, environment }: EnvironmentId): void {
  checkName('an app', app);
  checkName('an environment', environment);
}

function checkName(what: string, name: string): void {
  if (isName(name)) return;
  throw new AppError('invalid_name', `"${name}" cannot be the name of ${what}`, {
    hint: 'Use 1 to 40 small letters, digits and hyphens, starting with a letter.',
  });
}
