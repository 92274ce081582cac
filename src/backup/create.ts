import { lstat, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { listEnvironmentsWithState } from '../config/environment-state.ts';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { AppError, hasCode } from '../errors/app-error.ts';
import { type ReleaseRecord, wholeCommit } from '../releases/release.ts';
import { type Active, ReleaseStore } from '../releases/store.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import { temporaryBeside } from '../system/fs/temporaries.ts';
import { ArchiveWriter, ownEntry } from './archive-writer.ts';
import { commitsIn, writeBundle } from './bundle.ts';
import { type BackedUpEnvironment, type Head, headName, manifestName, newHead, now } from './format.ts';
import { bundleName, edgeDirectory, environmentFiles, lastingDirectories, stateFiles } from './layout.ts';
import { type Owner, Owners } from './owners.ts';
import { contentOf, Packer, type PackerOptions } from './packer.ts';
import { besideDatabase } from './sqlite.ts';
import { below, openWithoutLinks, walk } from './walk.ts';

interface BackupOptions extends PackerOptions {
  /** true to include the data of apps */
  shared: boolean;
  /** true to include the files of all releases, not only of those that cannot be built again */
  releases: boolean;
  /** version of Sluice */
  version: string;
}

/** Files of `edge` that count on one machine only. */
const edgeRuntime = new Set(['wanted.json', 'applied.json', 'order.lock', 'challenges']);

/** Directories in the home of an app's user that programs can fetch again. */
const caches = new Set(['.npm', '.cache']);

/**
 * Limit of paths in a backup, in bytes. A restore adds a longer path in front, and no program can open a path of more than
 * 4095 bytes.
 */
const maxPathLength = 3072;

/**
 * Writes a backup as a tar archive. The caller ensures that nothing is moved or removed in the home meanwhile. Apps and
 * deploys continue.
 *
 * If apps have users, this process is root. Neither an app nor the server may have root read a file for it, since a restore
 * would give the content to it. So no path leads through a link, and programs run as the owner of the files that they read.
 * @param put fulfilled when it accepts more
 */
export async function createBackup(
  paths: Paths,
  put: (chunk: Buffer) => Promise<void>,
  options: BackupOptions,
): Promise<Head> {
  const owners = await Owners.of(paths);
  const contents = await contentsOf(paths, owners.home, options);
  const writer = new ArchiveWriter((chunk) => {
    options.signal.throwIfAborted();
    return put(chunk);
  });
  const context = { paths, writer, owners, options, packer: new Packer(paths, writer, owners, options) };
  const head = newHead({
    sluice: options.version,
    createdAt: new Date().toISOString(),
    isolated: owners.isolated,
    shared: options.shared,
    environments: contents.map(({ app, environment, live, trees }) => ({ app, environment, live, trees })),
  });
  await writer.metadata(headName, head);
  for (const name of stateFiles) await copyFile(context, name, null);
  await copyTree(context, edgeDirectory, null, edgeRuntime);
  for (const app of new Set(contents.map(({ app }) => app))) await copyRepository(context, app);
  for (const each of contents) await copyEnvironment(context, each);
  await writer.metadata(manifestName, writer.manifest());
  await writer.end();
  return head;
}

/** Environment with the contents of its backup. */
interface Contents extends BackedUpEnvironment {
  active: Active | null;
  /** numbers of all releases with records */
  records: number[];
}

/**
 * Decides what to copy of each environment. Of releases, this is the live one if it cannot be built again from a repository,
 * or all. The owner of the home may put links here. That is harmless: the backup takes only names and numbers from these
 * files.
 */
async function contentsOf(
  paths: Paths,
  owner: Owner,
  { releases, note }: BackupOptions,
): Promise<Contents[]> {
  const contents: Contents[] = [];
  for (const id of await listEnvironmentsWithState(paths)) {
    const store = new ReleaseStore(id, paths.environment(id));
    // In this order, so that the list has the live release although a deploy may switch meanwhile.
    const active = await store.active();
    const records = await store.list();
    const live = active?.release ?? null;
    const withFiles: number[] = [];
    for (const { number, liveAt } of records) {
      // Right after a switch, the record does not have the time yet.
      if ((liveAt !== null || number === live) && (await store.hasTree(number))) withFiles.push(number);
    }
    const common = { ...id, records: records.map(({ number }) => number) };
    const record = records.find(({ number }) => number === live);
    if (live !== null && (record === undefined || !withFiles.includes(live))) {
      // One app must not prevent the backup of the others.
      note(
        `the files of release ${live} of ${environmentName(id)} are missing, so a restore would have no live release; deploy the app again, then back it up`,
      );
      contents.push({ ...common, active: null, live: null, trees: releases ? withFiles : [] });
      continue;
    }
    const isNeeded = record !== undefined && !(await canBeBuilt(paths.repository(id.app), record, owner));
    const trees = releases ? withFiles : withFiles.filter((number) => number === live && isNeeded);
    contents.push({ ...common, active, live, trees });
  }
  return contents;
}

async function canBeBuilt(repository: string, { source }: ReleaseRecord, owner: Owner): Promise<boolean> {
  const commit = wholeCommit(source);
  if (commit === null || !(await exists(join(repository, 'HEAD')))) return false;
  return (await commitsIn(repository, [commit], owner)).has(commit);
}

interface Context {
  paths: Paths;
  writer: ArchiveWriter;
  owners: Owners;
  options: BackupOptions;
  packer: Packer;
}

async function copyEnvironment(context: Context, contents: Contents): Promise<void> {
  const { app, environment, active, trees, records } = contents;
  const { writer, options, packer } = context;
  const id = { app, environment };
  const directory = `apps/${app}/${environment}`;
  for (const name of environmentFiles) {
    const path = `${directory}/${name}`;
    if (name !== 'generation') {
      const isCopied = await copyFile(context, path, id);
      if (name === 'app.json' && !isCopied) throw obstructed(id, path);
      // From the time of the decision: a deploy may switch meanwhile. A release without files is not live.
    } else if (active !== null && trees.includes(active.release)) {
      const text = Buffer.from(JSON.stringify(active));
      await writer.entry({ ...ownEntry, path, size: text.length, mtime: now() }, [text]);
    }
  }
  for (const number of records) {
    const release = `${directory}/releases/${number}`;
    await copyTree(context, trees.includes(number) ? release : `${release}/.sluice`, id);
  }
  if (options.shared)
    for (const name of lastingDirectories) await copyTree(context, `${directory}/${name}`, id, caches);
  packer.endEnvironment(id);
}

/** Copies a file. @returns false if there is none */
async function copyFile(context: Context, path: string, id: EnvironmentId | null): Promise<boolean> {
  const isCopied = await inHome(context, path, async (at) => {
    const file = await openWithoutLinks(at);
    if (file === undefined) return false;
    await using _ = file.handle;
    await context.packer.add({ kind: 'file', path, ...file }, id);
    return true;
  });
  return isCopied ?? false;
}

/** Copies a directory if it exists. @param without names in it that are left out */
async function copyTree(
  context: Context,
  path: string,
  id: EnvironmentId | null,
  without: ReadonlySet<string> = new Set(),
): Promise<void> {
  const { packer, options } = context;
  await inHome(context, path, async (at) => {
    const stats = await ifThere(lstat(at));
    if (stats?.isSymbolicLink()) packer.note('left out, since it is a link', path);
    if (!stats?.isDirectory()) return;
    await packer.add({ kind: 'directory', path, stats }, id);
    const covered = new Set<string>();
    for await (const found of walk(at, maxPathLength - path.length, options.limits)) {
      const [top = ''] = found.path.split('/', 1);
      if (without.has(top) || covered.delete(found.path)) continue;
      const entry = { ...found, path: `${path}/${found.path}` };
      if (entry.kind === 'file' && (await packer.addDatabase(entry, id)))
        for (const ending of besideDatabase) covered.add(found.path + ending);
      else await packer.add(entry, id);
    }
  });
}

/** Calls `work` with a path of an entry in the home. Without users of apps, links are harmless. */
async function inHome<Result>(
  { paths: { home }, owners }: Context,
  path: string,
  work: (at: string) => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await (owners.isolated ? below(home, path, work) : work(join(home, path)));
  } catch (error) {
    if (!hasCode(error, 'EACCES', 'EPERM')) throw error;
    throw new AppError('forbidden', (error as Error).message, {
      hint: 'Run the command as root, or as the user that Sluice runs as: the backup would lack this file.',
      cause: error,
    });
  }
}

async function copyRepository({ paths, writer, owners }: Context, app: string): Promise<void> {
  const repository = paths.repository(app);
  if (!(await exists(join(repository, 'HEAD')))) return;
  // The header needs the size of the bundle, which git does not know before.
  const temporary = temporaryBeside(join(paths.home, 'bundle'));
  await using handle = await open(temporary, 'wx+', 0o600);
  // Without a name, nothing remains after a crash.
  await unlink(temporary);
  if (!(await writeBundle(repository, handle, owners.home))) return;
  const { size } = await handle.stat();
  const head = { ...ownEntry, path: `apps/${app}/${bundleName}`, size, mtime: now() };
  await writer.entry(head, contentOf(handle, { offset: 0, length: size }));
}

function obstructed(id: EnvironmentId, path: string): AppError {
  return new AppError(
    'files_obstructed',
    `${path} of ${environmentName(id)} is missing, or its path leads through a link`,
    {
      hint: 'Only Sluice creates these directories, and a backup follows no link in them. Find out who changed them.',
    },
  );
}
