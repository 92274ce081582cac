import type { Stats } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Paths, Target } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { exists } from '../system/exists.ts';
import { removeTree, temporaryBeside } from '../system/files.ts';
import { ProgramFailed } from '../system/run-as.ts';
import { ArchiveWriter, now, plain } from './archive-writer.ts';
import { writeBundle } from './bundle.ts';
import { type Contents, contentsOf } from './contents.ts';
import { type Head, headName, manifestName, newHead } from './format.ts';
import { Owners } from './owners.ts';
import { bundleName, edgeDirectory, lasting, stateFiles, targetFiles } from './place.ts';
import { besideDatabase, databaseMode, takeSnapshot } from './sqlite.ts';
import type { EntryHead } from './sums.ts';
import { type Found, openFile, walk } from './walk.ts';

interface BackupOptions {
  /** what apps keep */
  shared: boolean;
  /** the files of all releases that are kept, not only of those that cannot be built again */
  releases: boolean;
  /** version of Sluice */
  version: string;
  /** told what is not in it, or not as one could wish */
  note: (text: string) => void;
  /** aborted, with the reason, when what lies in the home may not stay as it is any more */
  signal: AbortSignal;
}

/** Not of the state: what root's part of the edge has said, and who was at work. */
const fleeting = new Set(['applied.json', 'order.lock', 'challenges']);

/** What npm and others can fetch again. */
const caches = new Set(['.npm', '.cache']);

/**
 * Writes a backup as a tar. Whoever calls it sees to it that nothing is moved or removed in the home meanwhile; apps may
 * go on, and so may deploys.
 * @param put fulfilled when more can be taken
 */
export async function createBackup(
  paths: Paths,
  put: (chunk: Buffer) => Promise<void>,
  options: BackupOptions,
): Promise<Head> {
  const owners = await Owners.of(paths);
  const contents = await contentsOf(paths, owners.home, options.releases);
  const writer = new ArchiveWriter((chunk) => {
    options.signal.throwIfAborted();
    return put(chunk);
  });
  const packer = new Packer(paths, writer, owners, options);
  const head = newHead({
    sluice: options.version,
    createdAt: new Date().toISOString(),
    isolated: owners.isolated,
    shared: options.shared,
    environments: contents.map(({ app, environment, live, trees }) => ({ app, environment, live, trees })),
  });
  await writer.own(headName, head);
  for (const name of stateFiles) await packer.file(name, null);
  await packer.tree(edgeDirectory, null, fleeting);
  for (const app of new Set(contents.map(({ app }) => app))) await packer.repository(app);
  for (const each of contents) await packer.environment(each);
  await writer.own(manifestName, writer.manifest());
  await writer.end();
  return head;
}

class Packer {
  readonly #paths: Paths;
  readonly #writer: ArchiveWriter;
  readonly #owners: Owners;
  readonly #options: BackupOptions;

  constructor(paths: Paths, writer: ArchiveWriter, owners: Owners, options: BackupOptions) {
    this.#paths = paths;
    this.#writer = writer;
    this.#owners = owners;
    this.#options = options;
  }

  async environment({ target, active, trees, records }: Contents): Promise<void> {
    const { app, environment } = target;
    const below = `apps/${app}/${environment}`;
    for (const name of targetFiles) {
      if (name !== 'generation') await this.file(`${below}/${name}`, target);
      // As it was when it was decided what goes in: there may be a switch meanwhile. Without the files nothing is live.
      else if (active !== null && trees.includes(active.release))
        await this.#text(`${below}/${name}`, active);
    }
    for (const number of records) {
      const release = `${below}/releases/${number}`;
      if (trees.includes(number)) await this.tree(release, target);
      else await this.tree(`${release}/.sluice`, target);
    }
    if (this.#options.shared) for (const name of lasting) await this.tree(`${below}/${name}`, target, caches);
  }

  /** A file, if it is there. */
  async file(path: string, target: Target | null): Promise<void> {
    const file = await openFile(join(this.#paths.home, path));
    if (file === undefined) return;
    try {
      await this.#found({ kind: 'file', path, ...file }, target);
    } finally {
      await file.handle.close();
    }
  }

  /** A directory, if it is there. @param without names in it that are left out */
  async tree(path: string, target: Target | null, without: ReadonlySet<string> = new Set()): Promise<void> {
    const directory = join(this.#paths.home, path);
    const held = await directoryAt(directory);
    if (held === undefined) return;
    await this.#found({ kind: 'directory', path, stats: held }, target);
    const covered = new Set<string>();
    for await (const found of walk(directory)) {
      const top = found.path.split('/', 1)[0] ?? '';
      if (without.has(top) || covered.has(found.path)) continue;
      const whole = { ...found, path: `${path}/${found.path}` };
      if (
        found.kind === 'file' &&
        (await this.#database(whole as typeof found, join(directory, found.path), target))
      ) {
        for (const end of besideDatabase) covered.add(found.path + end);
      } else await this.#found(whole, target);
    }
  }

  async repository(app: string): Promise<void> {
    const path = this.#paths.repository(app);
    if (!(await exists(join(path, 'HEAD')))) return;
    // Its length must be known before it is written, and git does not know it before it is made.
    const spool = temporaryBeside(join(this.#paths.home, 'bundle'));
    const handle = await open(spool, 'wx+', 0o600);
    try {
      if (!(await writeBundle(path, handle, this.#owners.home))) return;
      const { size } = await handle.stat();
      const head = {
        ...plain,
        path: `apps/${app}/${bundleName}`,
        type: 'file',
        mode: 0o600,
        size,
        mtime: now(),
      } as const;
      await this.#writer.entry(head, contentOf(handle, size));
    } finally {
      await handle.close();
      await removeTree(spool);
    }
  }

  async #text(path: string, value: unknown): Promise<void> {
    const text = Buffer.from(JSON.stringify(value));
    const head = { ...plain, path, type: 'file', mode: 0o600, size: text.length, mtime: now() } as const;
    await this.#writer.entry(head, [text]);
  }

  async #found(found: Found, target: Target | null): Promise<void> {
    if (found.kind === 'other') {
      this.#options.note(`left out, since it is no file, or its name is not UTF-8: ${found.path}`);
      return;
    }
    const { kind, path, stats } = found;
    const head: EntryHead = {
      path,
      type: kind,
      mode: stats.mode & 0o777,
      size: kind === 'file' ? stats.size : 0,
      mtime: Math.floor(stats.mtimeMs / 1000),
      target: kind === 'link' ? found.target : '',
      ...this.#owners.roles(stats, target),
    };
    await this.#writer.entry(head, kind === 'file' ? contentOf(found.handle, stats.size) : []);
  }

  /** A database that is in use, as SQLite copies it. @returns false where it is none, or SQLite cannot */
  async #database(
    { handle, path, stats }: Found & { kind: 'file' },
    at: string,
    target: Target | null,
  ): Promise<boolean> {
    const mode = await databaseMode(handle, at);
    if (mode === 'none' || mode === 'rest') return false;
    try {
      await using copy = await takeSnapshot(at, mode, stats, this.#paths.home);
      const head = {
        path,
        type: 'file',
        mode: stats.mode & 0o777,
        size: copy.size,
        mtime: Math.floor(stats.mtimeMs / 1000),
        target: '',
        ...this.#owners.roles(stats, target),
      } as const;
      await this.#writer.entry(head, contentOf(copy.handle, copy.size));
      return true;
    } catch (error) {
      this.#options.signal.throwIfAborted();
      if (!(error instanceof ProgramFailed)) throw error;
      const why = error.message.trim().split('\n').at(-1);
      this.#options.note(
        `${path} is copied as it stands, since SQLite could not copy it (${why}); stop the app for a sure copy`,
      );
      return false;
    }
  }
}

/** Where there is a directory and no link to one. */
async function directoryAt(path: string): Promise<Stats | undefined> {
  try {
    const stats = await lstat(path);
    return stats.isDirectory() ? stats : undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** A buffer for each piece: whoever gets it may not be done with it when the next is read. */
async function* contentOf(handle: FileHandle, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < size; ) {
    const buffer = Buffer.allocUnsafe(Math.min(pieceSize, size - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

const pieceSize = 256 * 1024;
