import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import {
  type EnvironmentState,
  listEnvironmentsWithState,
  loadEnvironmentState,
  saveEnvironmentState,
} from '../config/environment-state.ts';
import { environmentName, Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, syncDirectory } from '../system/fs/files.ts';
import { PinnedDirectory } from '../system/fs/pinned-directory.ts';
import { removeTree } from '../system/fs/remove-tree.ts';
import { leftTemporaries, temporaryBeside } from '../system/fs/temporaries.ts';
import { run } from '../system/process/run.ts';
import { asUser } from '../system/process/user.ts';
import { readBundle } from './bundle.ts';
import { type BackedUpEnvironment, type Head, notABackup } from './format.ts';
import { bundleName } from './layout.ts';
import { mergeState } from './merge.ts';
import { Owners } from './owners.ts';
import { unpack } from './unpack.ts';

interface RestoreOptions {
  /** true to replace existing apps */
  force: boolean;
  /** bytes that must stay free on the disk */
  minFree: number;
  /** ends the restore before its first change */
  signal: AbortSignal;
  /** stops a Sluice that runs in the home until the result is disposed of */
  quiet: () => Promise<AsyncDisposable>;
}

/** Environment that has been unpacked. */
interface Staged extends BackedUpEnvironment {
  state: EnvironmentState;
}

/**
 * Restores a backup into a home. Changes nothing until the backup has been verified, and all files have been unpacked. One
 * rename then restores each app.
 * @throws AppError `app_exists`, `port_taken`, `archive_unreadable`, `archive_truncated`, `archive_unsafe`, `disk_full`
 */
export async function restoreBackup(paths: Paths, input: Readable, options: RestoreOptions): Promise<Head> {
  await ensurePrivateDirectory(paths.home);
  const owners = await Owners.of(paths);
  await using directory = await createStaging(paths, owners);
  const { staging, byName } = directory;
  const unpacked = await unpack(input, staging.home, options);
  const { head } = unpacked;
  const apps = appsOf(head.environments);
  const staged = await verify(staging, head);
  await assertFree(paths, staged, options.force);
  await owners.giveAll(staging, unpacked);
  for (const app of apps) await createRepository(byName, app, owners);
  // One sync for all files: a sync of each of 100,000 files would take too long.
  await run('sync', process.platform === 'linux' ? ['-f', paths.home] : []);
  options.signal.throwIfAborted();
  await using _quiet = await options.quiet();
  await assertFree(paths, staged, options.force);
  await mergeState(paths, staging, owners);
  for (const app of apps) await moveApp(paths, staging, app, owners);
  return head;
}

function appsOf(environments: readonly BackedUpEnvironment[]): Set<string> {
  return new Set(environments.map(({ app }) => app));
}

/** Directory of unpacked files. */
interface Staging extends AsyncDisposable {
  /** path that is valid in this process only, even if the directory is renamed */
  staging: Paths;
  /** path by name, for programs that run with the rights of the home's owner */
  byName: Paths;
}

/**
 * Creates a directory in the home, since a rename works only within a file system. If apps have users, this process is root,
 * and the owner of the home may replace the directory by a link: so it stays open, and only root can enter it.
 */
async function createStaging({ home }: Paths, { isolated }: Owners): Promise<Staging> {
  const path = temporaryBeside(join(home, 'restore'));
  // The server, which sweeps the home, may not remove files of root.
  if (isolated) for (const name of await leftTemporaries(home)) await remove(join(home, name));
  await mkdir(path, { mode: 0o700 });
  const pinned = isolated ? pin(home, basename(path)) : undefined;
  return {
    staging: new Paths(pinned?.path ?? path),
    byName: new Paths(path),
    async [Symbol.asyncDispose]() {
      pinned?.[Symbol.dispose]();
      await remove(path);
    },
  };
}

/** Removes a tree in which others may create links meanwhile. Node.js follows paths; `rm` does not. */
async function remove(path: string): Promise<void> {
  await run('rm', ['-rf', '--', path]);
}

function pin(home: string, name: string): PinnedDirectory {
  using parent = PinnedDirectory.at(home);
  const pinned = parent.open(name);
  if (pinned.isOnlyRoots && readdirSync(pinned.path).length === 0) return pinned;
  pinned[Symbol.dispose]();
  throw new AppError('files_obstructed', `${join(home, name)} was replaced during the restore`, {
    hint: 'Another program changes the home. Nothing was restored: stop that program, then try again.',
  });
}

/** Compares the unpacked files with the head of the backup. Marks live releases without files for a build by the server. */
async function verify(staging: Paths, head: Head): Promise<Staged[]> {
  const staged: Staged[] = [];
  for (const each of head.environments) {
    const { app, live, trees } = each;
    const paths = staging.environment(each);
    const state = await loadEnvironmentState(paths.state);
    const name = environmentName(each);
    if (state === undefined) throw notABackup(`app.json of ${name} not found`);
    for (const number of trees)
      if (!(await exists(paths.release(number).record))) throw notABackup(`${name} lacks release ${number}`);
    const isComplete = live === null || trees.includes(live);
    if (!isComplete && !(await exists(join(staging.app(app), bundleName))))
      throw notABackup(`${name} lacks the repository to build release ${live} from`);
    // No release was live either if the builds of an earlier restore have not run yet.
    const rebuild = live === null ? state.rebuild : null;
    await saveEnvironmentState(paths.state, { ...state, rebuild: isComplete ? rebuild : live });
    staged.push({ ...each, state });
  }
  return staged;
}

/** @throws AppError `app_exists`, `port_taken` */
async function assertFree(paths: Paths, staged: Staged[], force: boolean): Promise<void> {
  const apps = appsOf(staged);
  const existing: string[] = [];
  for (const app of apps) if (await exists(paths.app(app))) existing.push(app);
  if (existing.length > 0 && !force)
    throw new AppError('app_exists', `already here: ${existing.join(', ')}`, {
      hint: 'Nothing was changed. Use --force to replace these apps, with all their data.',
    });
  const ports = new Map(staged.map((each) => [each.state.port, environmentName(each)]));
  for (const id of await listEnvironmentsWithState(paths)) {
    if (apps.has(id.app)) continue;
    const { port = 0 } = (await loadEnvironmentState(paths.environment(id).state)) ?? {};
    const other = ports.get(port);
    if (other !== undefined)
      throw new AppError('port_taken', `port ${port} of ${other} belongs to ${environmentName(id)} here`, {
        hint: 'Nothing was changed. Ports never change: restore into an install without that app.',
      });
  }
}

/** Creates the repository of an app. git runs as the owner of the home, who must own the directory by now. */
async function createRepository(byName: Paths, app: string, owners: Owners): Promise<void> {
  const bundle = join(byName.app(app), bundleName);
  if (!(await exists(bundle))) return;
  await readBundle(bundle, byName.repository(app), owners.home);
  asUser(owners.home, () => rmSync(bundle));
}

/** Moves an app into the home by a rename. A replaced app first gets a name that the server sweeps. */
async function moveApp(paths: Paths, staging: Paths, app: string, owners: Owners): Promise<void> {
  if (!(await exists(paths.apps)))
    asUser(owners.home, () => mkdirSync(paths.apps, { mode: owners.isolated ? 0o711 : 0o700 }));
  const aside = join(paths.home, `.removing-${app}-${Date.now()}`);
  const replaces = await exists(paths.app(app));
  asUser(owners.home, () => {
    if (replaces) renameSync(paths.app(app), aside);
    renameSync(staging.app(app), paths.app(app));
  });
  await syncDirectory(paths.apps);
  if (replaces) await (owners.isolated ? remove(aside) : removeTree(aside));
}
