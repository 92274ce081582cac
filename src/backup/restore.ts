import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import {
  type EnvironmentState,
  listEnvironmentsWithState,
  loadEnvironmentState,
  saveEnvironmentState,
} from '../config/environment-state.ts';
import { environmentName, type Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, listDirectory, syncDirectory } from '../system/fs/files.ts';
import { removeTree } from '../system/fs/remove-tree.ts';
import { run } from '../system/process/run.ts';
import { asUser } from '../system/process/user.ts';
import { readBundle } from './bundle.ts';
import { type Environment, type Head, notABackup } from './format.ts';
import { hand } from './hand.ts';
import { mergeState } from './merge.ts';
import { Owners } from './owners.ts';
import { bundleName, unsafeEntry } from './place.ts';
import { makeStaging, remove } from './staging.ts';
import { unpack } from './unpack.ts';

interface RestoreOptions {
  /** whether apps that are here already are replaced */
  force: boolean;
  /** bytes that are to stay free on the disk */
  minFree: number;
  /** until something is changed, ends it */
  signal: AbortSignal;
  /** ends what works in the home, if anything does, until what is returned is disposed of */
  quiet: () => Promise<AsyncDisposable>;
}

/** An environment as it is about to be restored. */
interface Staged extends Environment {
  state: EnvironmentState;
}

/**
 * Puts a backup into a home. Until it has proved whole, and all is unpacked that is to be moved, nothing is changed; each
 * app then takes its place by one rename.
 * @throws AppError `app_exists`, `port_taken`, `archive_unreadable`, `archive_truncated`, `archive_unsafe`, `disk_full`
 */
export async function restoreBackup(paths: Paths, input: Readable, options: RestoreOptions): Promise<Head> {
  await ensurePrivateDirectory(paths.home);
  const owners = await Owners.of(paths);
  await using place = await makeStaging(paths, owners);
  const { paths: staging, named } = place;
  const unpacked = await unpack(input, staging.home, options);
  const { head } = unpacked;
  const staged = await examine(staging, head);
  await assertFree(paths, staged, options.force);
  for (const each of staged) await prepare(staging, each);
  await hand(staging, owners, unpacked);
  for (const app of appsOf(head)) await makeRepository(named, app, owners);
  await sync(paths.home);
  options.signal.throwIfAborted();
  {
    await using _quiet = await options.quiet();
    await assertFree(paths, staged, options.force);
    await mergeState(paths, staging, owners);
    for (const app of appsOf(head)) await put(paths, staging, app, owners);
  }
  return head;
}

/** Before anything takes its place, it is on the disk: there may be 100,000 files, for each of which to wait takes too long. */
async function sync(path: string): Promise<void> {
  await run('sync', process.platform === 'linux' ? ['-f', path] : []);
}

function appsOf({ environments }: Pick<Head, 'environments'>): Set<string> {
  return new Set(environments.map(({ app }) => app));
}

/** Whether what was unpacked is what the backup says of itself. */
async function examine(staging: Paths, head: Head): Promise<Staged[]> {
  const staged: Staged[] = [];
  for (const each of head.environments) {
    const paths = staging.environment(each);
    const state = await loadEnvironmentState(paths.state);
    const name = environmentName(each);
    if (state === undefined) throw notABackup(`there is no app.json of ${name}`);
    for (const number of each.trees) {
      if (!(await exists(paths.release(number).record))) throw notABackup(`${name} lacks release ${number}`);
    }
    const hasRepository = await exists(join(staging.app(each.app), bundleName));
    if (each.live !== null && !each.trees.includes(each.live) && !hasRepository) {
      throw notABackup(`there is nothing to make release ${each.live} of ${name} from`);
    }
    staged.push({ ...each, state });
  }
  const said = new Set(staged.map(environmentName));
  for (const app of await listDirectory(staging.apps)) {
    for (const environment of await listDirectory(staging.app(app))) {
      if (
        environment === bundleName ? appsOf(head).has(app) : said.has(environmentName({ app, environment }))
      )
        continue;
      throw unsafeEntry(`there is an app in it that it does not tell of: ${app}/${environment}`);
    }
  }
  return staged;
}

/** @throws AppError `app_exists`, `port_taken` */
async function assertFree(paths: Paths, staged: Staged[], force: boolean): Promise<void> {
  const apps = appsOf({ environments: staged });
  const there: string[] = [];
  for (const app of apps) if (await exists(paths.app(app))) there.push(app);
  if (there.length > 0 && !force) {
    throw new AppError(
      'app_exists',
      `${there.join(', ')} ${there.length === 1 ? 'is' : 'are'} here already`,
      {
        hint: 'Nothing was changed. --force replaces them, with all that they keep.',
      },
    );
  }
  const ports = new Map(staged.map((each) => [each.state.port, environmentName(each)]));
  for (const target of await listEnvironmentsWithState(paths)) {
    if (apps.has(target.app)) continue;
    const state = await loadEnvironmentState(paths.environment(target).state);
    const other = state && ports.get(state.port);
    if (other === undefined) continue;
    throw new AppError(
      'port_taken',
      `port ${state?.port} of ${other} is that of ${environmentName(target)} here`,
      {
        hint: 'Nothing was changed. A port is for good: restore into an install without that app.',
      },
    );
  }
}

/** What has no files yet is built from its commit when the server starts. */
async function prepare(staging: Paths, { live, trees, state, ...target }: Staged): Promise<void> {
  // Nothing was live either where an earlier restore had something to build, and has not come to it.
  const rebuild = live === null ? state.rebuild : trees.includes(live) ? null : live;
  await saveEnvironmentState(staging.environment(target).state, { ...state, rebuild });
}

/** After the directory belongs to whom it is to: git works as that user, who has no way but by names. */
async function makeRepository(named: Paths, app: string, owners: Owners): Promise<void> {
  const bundle = join(named.app(app), bundleName);
  if (!(await exists(bundle))) return;
  await readBundle(bundle, named.repository(app), owners.home);
  asUser(owners.home, () => rmSync(bundle));
}

/** At no instant is there half an app. What is in the way lies aside under a name that the server sweeps, too. */
async function put(paths: Paths, staging: Paths, app: string, owners: Owners): Promise<void> {
  if (!(await exists(paths.apps))) {
    asUser(owners.home, () => mkdirSync(paths.apps, { mode: owners.isolated ? 0o711 : 0o700 }));
  }
  const aside = join(paths.home, `.removing-${app}-${Date.now()}`);
  const replaces = await exists(paths.app(app));
  asUser(owners.home, () => {
    if (replaces) renameSync(paths.app(app), aside);
    renameSync(staging.app(app), paths.app(app));
  });
  await syncDirectory(paths.apps);
  if (replaces) await (owners.isolated ? remove(aside) : removeTree(aside));
}
