import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { listEnvironmentsWithState } from '../config/environment-state.ts';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { type ReleaseRecord, wholeCommit } from '../releases/release.ts';
import { type Active, ReleaseStore } from '../releases/store.ts';
import { exists } from '../system/fs/exists.ts';
import { temporaryBeside } from '../system/fs/temporaries.ts';
import { ArchiveWriter, ownEntry } from './archive-writer.ts';
import { hasCommit, writeBundle } from './bundle.ts';
import { type Head, headName, newHead, now } from './format.ts';
import { bundleName, edgeDirectory, environmentFiles, lastingDirectories, stateFiles } from './layout.ts';
import { type Owner, Owners } from './owners.ts';
import { type BackupContext, chunksOf, Packer, type PackerOptions } from './packer.ts';

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
  const head = newHead({
    sluice: options.version,
    createdAt: new Date().toISOString(),
    isolated: owners.isolated,
    shared: options.shared,
    environments: contents.map(({ app, environment, active, trees }) => {
      return { app, environment, live: active?.release ?? null, trees };
    }),
  });
  await writer.metadata(headName, head);
  const context = { paths, writer, owners, options };
  const state = new Packer(context, null);
  for (const name of stateFiles) await state.addFile(name);
  await state.addTree(edgeDirectory, edgeRuntime);
  state.end();
  for (const app of new Set(contents.map(({ app }) => app))) await copyRepository(context, app);
  for (const each of contents) {
    const packer = new Packer(context, each);
    await copyEnvironment(packer, writer, each, options.shared);
    packer.end();
  }
  await writer.end();
  return head;
}

/** Environment with the contents of its backup. */
interface Contents extends EnvironmentId {
  active: Active | null;
  /** releases to copy with all their files, and all releases with records */
  trees: number[];
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
    const record = records.find(({ number }) => number === live);
    const isLost = live !== null && (record === undefined || !withFiles.includes(live));
    // One app must not prevent the backup of the others.
    if (isLost)
      note(
        `the files of release ${live} of ${environmentName(id)} are missing, so a restore would have no live release; deploy the app again, then back it up`,
      );
    const isNeeded = record !== undefined && !(await canBeBuilt(paths.repository(id.app), record, owner));
    contents.push({
      ...id,
      active: isLost ? null : active,
      trees: withFiles.filter((number) => releases || (number === live && isNeeded)),
      records: records.map(({ number }) => number),
    });
  }
  return contents;
}

async function canBeBuilt(repository: string, { source }: ReleaseRecord, owner: Owner): Promise<boolean> {
  const commit = wholeCommit(source);
  if (commit === null || !(await exists(join(repository, 'HEAD')))) return false;
  return hasCommit(repository, commit, owner);
}

async function copyEnvironment(packer: Packer, writer: ArchiveWriter, contents: Contents, shared: boolean) {
  const { app, environment, active, trees, records } = contents;
  const directory = `apps/${app}/${environment}`;
  for (const name of environmentFiles) {
    const path = `${directory}/${name}`;
    if (name !== 'generation') {
      const isCopied = await packer.addFile(path);
      if (name === 'app.json' && !isCopied) throw obstructed(contents, path);
      // From the time of the decision: a deploy may switch meanwhile. A release without files is not live.
    } else if (active !== null && trees.includes(active.release)) {
      const text = Buffer.from(JSON.stringify(active));
      await writer.entry({ ...ownEntry, path, size: text.length, mtime: now() }, [text]);
    }
  }
  for (const number of records) {
    const release = `${directory}/releases/${number}`;
    await packer.addTree(trees.includes(number) ? release : `${release}/.sluice`);
  }
  if (shared) for (const name of lastingDirectories) await packer.addTree(`${directory}/${name}`, caches);
}

async function copyRepository({ paths, writer, owners }: BackupContext, app: string): Promise<void> {
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
  await writer.entry(head, chunksOf(handle, size));
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
