import type { Stats } from 'node:fs';
import { type FileHandle, lstat, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Paths, type Target, targetName } from '../config/paths.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { exists } from '../system/exists.ts';
import { temporaryBeside } from '../system/files.ts';
import { ProgramFailed } from '../system/run-as.ts';
import { ArchiveWriter, now, plain } from './archive-writer.ts';
import { writeBundle } from './bundle.ts';
import { type Contents, contentsOf } from './contents.ts';
import { type Head, headName, manifestName, newHead } from './format.ts';
import { Owners } from './owners.ts';
import { bundleName, edgeDirectory, lasting, stateFiles, targetFiles } from './place.ts';
import { besideDatabase, databaseMode, takeSnapshot } from './sqlite.ts';
import type { EntryHead } from './sums.ts';
import { below, type Found, openFile, walk } from './walk.ts';

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

/**
 * Not of the state: what was asked of root's part of the edge, and what it has said, by numbers that count on one machine
 * alone, and who was at work.
 */
const fleeting = new Set(['wanted.json', 'applied.json', 'order.lock', 'challenges']);

/** What npm and others can fetch again. */
const caches = new Set(['.npm', '.cache']);

/**
 * Writes a backup as a tar. Whoever calls it sees to it that nothing is moved or removed in the home meanwhile; apps may
 * go on, and so may deploys.
 *
 * Where apps have users we are root, and neither they nor the server, whose the home is, may have us read for them what they
 * may not: it would be theirs after a restore. So no link is followed on the way to what is copied; other programs are
 * run as whoever owns what they read, and by its path.
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
    const directory = `apps/${app}/${environment}`;
    for (const name of targetFiles) {
      const path = `${directory}/${name}`;
      if (name !== 'generation') {
        const isIn = await this.file(path, target);
        if (name === 'app.json' && !isIn) throw unreachable(target, path);
      }
      // As it was when it was decided what goes in: there may be a switch meanwhile. Without the files nothing is live.
      else if (active !== null && trees.includes(active.release)) await this.#text(path, active);
    }
    for (const number of records) {
      const release = `${directory}/releases/${number}`;
      if (trees.includes(number)) await this.tree(release, target);
      else await this.tree(`${release}/.sluice`, target);
    }
    if (this.#options.shared)
      for (const name of lasting) await this.tree(`${directory}/${name}`, target, caches);
  }

  /** A file, if it is there. @returns whether it is */
  async file(path: string, target: Target | null): Promise<boolean> {
    const isIn = await this.#at(path, async (at) => {
      const file = await openFile(at);
      if (file === undefined) return false;
      try {
        await this.#found({ kind: 'file', path, ...file }, target);
        return true;
      } finally {
        await file.handle.close();
      }
    });
    return isIn ?? false;
  }

  /** A directory, if it is there. @param without names in it that are left out */
  async tree(path: string, target: Target | null, without: ReadonlySet<string> = new Set()): Promise<void> {
    await this.#at(path, async (at) => {
      const stats = await statsOf(at);
      if (stats?.isSymbolicLink()) this.#options.note(`left out, since it is a link: ${path}`);
      if (!stats?.isDirectory()) return;
      await this.#found({ kind: 'directory', path, stats }, target);
      const covered = new Set<string>();
      for await (const found of walk(at)) {
        const top = found.path.split('/', 1)[0] ?? '';
        if (without.has(top) || covered.has(found.path)) continue;
        const whole = { ...found, path: `${path}/${found.path}` };
        if (whole.kind === 'file' && (await this.#database(whole, target))) {
          for (const end of besideDatabase) covered.add(found.path + end);
        } else await this.#found(whole, target);
      }
    });
  }

  /** Works with what is at a path in the home. Where all is one user's, links on the way are nobody's but that user's. */
  async #at<Result>(path: string, work: (at: string) => Promise<Result>): Promise<Result | undefined> {
    const { home } = this.#paths;
    return this.#owners.isolated ? below(home, path, work) : work(join(home, path));
  }

  async repository(app: string): Promise<void> {
    const path = this.#paths.repository(app);
    if (!(await exists(join(path, 'HEAD')))) return;
    // Its length must be known before it is written, and git does not know it before it is made.
    const spool = temporaryBeside(join(this.#paths.home, 'bundle'));
    const handle = await open(spool, 'wx+', 0o600);
    try {
      // Nobody needs its name, and nothing of it is left, whatever becomes of us.
      await unlink(spool);
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
    if (kind === 'file' && this.#owners.isStrangers(stats, target)) {
      this.#options.note(`left out, since it is also somewhere else, and not of this app: ${path}`);
      return;
    }
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
    target: Target | null,
  ): Promise<boolean> {
    const at = join(this.#paths.home, path);
    const mode = await databaseMode(handle, at);
    if (mode === 'none' || mode === 'rest') return false;
    try {
      const owner = this.#owners.whose(stats, target);
      if (owner === undefined) throw new ProgramFailed('it belongs neither to the app nor to Sluice');
      // The app's own directory for such things is where it may write, on the same disk; the home is the server's.
      const { home } = this.#paths;
      const isApps = target !== null && owner.uid !== this.#owners.home.uid;
      await using copy = await takeSnapshot(
        at,
        mode,
        owner,
        isApps ? this.#paths.target(target).temporary : home,
      );
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
      this.#options.note(
        `${path} is copied as it stands, since SQLite could not copy it (${error.message}); stop the app for a sure copy`,
      );
      return false;
    }
  }
}

/** Of a link, its own. */
async function statsOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function unreachable(target: Target, path: string): AppError {
  return new AppError(
    'files_obstructed',
    `${path} of ${targetName(target)} is not there, or only by a link`,
    {
      hint: 'Nobody but Sluice makes these directories. See what has changed them: a backup follows no link in them.',
    },
  );
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
