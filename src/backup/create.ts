import type { Stats } from 'node:fs';
import { type FileHandle, lstat, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { AppError, hasCode, systemCode } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { temporaryBeside } from '../system/fs/files.ts';
import { ProgramFailed } from '../system/process/run.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import { ArchiveWriter, now, plain } from './archive-writer.ts';
import { writeBundle } from './bundle.ts';
import { type Contents, contentsOf } from './contents.ts';
import { type Head, headName, manifestName, newHead } from './format.ts';
import { type Limits, Room, TimeLimit, usualLimits } from './limits.ts';
import { Owners } from './owners.ts';
import { bundleName, edgeDirectory, lasting, placeOf, stateFiles, targetFiles } from './place.ts';
import { isSmallInFull, isSparse, type Piece, piecesOf } from './sparse.ts';
import { besideDatabase, databaseMode, type Snapshot, takeSnapshot, usualTime } from './sqlite.ts';
import type { EntryHead } from './sums.ts';
import { below, type Found, openFile, walk } from './walk.ts';

interface BackupOptions {
  /** what apps keep */
  shared: boolean;
  /** the files of all releases that are kept, not only of those that cannot be built again */
  releases: boolean;
  /** version of Sluice */
  version: string;
  /** called for each file that is left out or copied imperfectly */
  note: (text: string) => void;
  /** aborted, with the reason, when what lies in the home may not stay as it is any more */
  signal: AbortSignal;
  /** those of each environment */
  limits?: Limits;
  /** returns a time in ms, for the limits */
  now?: () => number;
}

/**
 * Not of the state: what was asked of root's part of the edge, and what it has said, by numbers that count on one machine
 * alone, and who was at work.
 */
const fleeting = new Set(['wanted.json', 'applied.json', 'order.lock', 'challenges']);

/** What npm and others can fetch again. */
const caches = new Set(['.npm', '.cache']);

/**
 * Longest path in a backup, in bytes. A restore puts a longer path in front of it, and no program can open a path of more than
 * 4095 bytes.
 */
const longestPath = 3072;
/** Largest file, in bytes: ext4 has no larger files, so a restore could not create it. */
const largestFile = 15 * 1024 ** 4;
/** Most names of one file: ext4 allows 65,000. */
const mostNames = 60_000;
/** Number of notes that name a file of one environment; further files are only counted. */
const mostNotes = 20;
/** Longest path in a note, in characters. */
const longestShown = 300;
/** Latest time that fits into the header of an entry without an extended header, in s. */
const latest = 8 ** 11 - 1;

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
  const contents = await contentsOf(paths, owners.home, options.releases, options.note);
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
  for (const each of contents) {
    await packer.environment(each);
    packer.endEnvironment(each.target);
  }
  await writer.own(manifestName, writer.manifest());
  await writer.end();
  return head;
}

class Packer {
  readonly #paths: Paths;
  readonly #writer: ArchiveWriter;
  readonly #owners: Owners;
  readonly #options: BackupOptions;
  readonly #limits: Limits;
  /** of the current environment */
  #used: Used;
  #notes = 0;

  constructor(paths: Paths, writer: ArchiveWriter, owners: Owners, options: BackupOptions) {
    this.#paths = paths;
    this.#writer = writer;
    this.#owners = owners;
    this.#options = options;
    this.#limits = options.limits ?? usualLimits;
    this.#used = this.#unused();
  }

  /** Resets the limits of an environment. */
  endEnvironment(target: EnvironmentId): void {
    const more = this.#notes - mostNotes;
    if (more > 0)
      this.#options.note(
        `left out, or not copied as they were: ${more} more files of ${environmentName(target)}`,
      );
    this.#used = this.#unused();
    this.#notes = 0;
  }

  #unused(): Used {
    return new Used(this.#limits, this.#options.now);
  }

  #note(what: string, path: string): void {
    this.#notes += 1;
    const shown = path.length > longestShown ? `${path.slice(0, longestShown)}…` : path;
    if (this.#notes <= mostNotes) this.#options.note(`${what}: ${shown}`);
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
  async file(path: string, target: EnvironmentId | null): Promise<boolean> {
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
  async tree(
    path: string,
    target: EnvironmentId | null,
    without: ReadonlySet<string> = new Set(),
  ): Promise<void> {
    await this.#at(path, async (at) => {
      const stats = await statsOf(at);
      if (stats?.isSymbolicLink()) this.#note('left out, since it is a link', path);
      if (!stats?.isDirectory()) return;
      await this.#found({ kind: 'directory', path, stats }, target);
      const covered = new Set<string>();
      for await (const found of walk(at, longestPath - path.length, this.#limits)) {
        const top = found.path.split('/', 1)[0] ?? '';
        if (without.has(top) || covered.delete(found.path)) continue;
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
    try {
      return await (this.#owners.isolated ? below(home, path, work) : work(join(home, path)));
    } catch (error) {
      throw unreadable(error);
    }
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
      await this.#writer.entry(head, contentOf(handle, { offset: 0, length: size }));
    } finally {
      await handle.close();
    }
  }

  async #text(path: string, value: unknown): Promise<void> {
    const text = Buffer.from(JSON.stringify(value));
    const head = { ...plain, path, type: 'file', mode: 0o600, size: text.length, mtime: now() } as const;
    await this.#writer.entry(head, [text]);
  }

  async #found(found: Found, target: EnvironmentId | null): Promise<void> {
    const { kind, path } = found;
    const leaveOut = (why: string) => this.#note(`left out, since ${why}`, path);
    if (kind === 'unfit') {
      // What an app does to its files must not prevent the backup of the others.
      if (target === null && found.error !== undefined) throw unreadable(found.error);
      return leaveOut(found.why);
    }
    const { stats } = found;
    const head = this.#headOf(found, target);
    if (kind !== 'file') return this.#writer.entry(head);
    if (this.#owners.isStrangers(stats, target))
      return leaveOut('it is also somewhere else, and not of this app');
    if (stats.size > largestFile) return leaveOut(`it is larger than ${formatBytes(largestFile)}`);
    const first = this.#firstName(stats);
    if (first?.refused !== undefined) return leaveOut(first.refused);
    if (first !== undefined && first.names >= mostNames)
      return leaveOut(`it is one of more than ${mostNames} names of one file`);
    if (first !== undefined) {
      first.names += 1;
      return this.#writer.entry({ ...head, type: 'hardLink', size: 0, target: first.path });
    }
    const pieces = target === null ? undefined : await this.#pieces(found);
    const refuse = (why: string) => {
      this.#noteName(found, target, why);
      leaveOut(why);
    };
    if (typeof pieces === 'string') return refuse(pieces);
    const bytes = pieces?.reduce((sum, { length }) => sum + length, 0) ?? stats.size;
    if (!(await this.#take(bytes, found))) return refuse(this.#noRoom);
    const content = (piece: Piece) => this.#contentOf(found.handle, piece, found, target);
    if (pieces !== undefined) await this.#writer.sparseEntry(head, pieces, content);
    else await this.#writer.entry(head, content({ offset: 0, length: stats.size }));
    this.#noteName(found, target);
  }

  get #noRoom(): string {
    return `there is more to copy than ${this.#limits.disks} times the size of the disk`;
  }

  /** Takes room for content of an app. @returns false if there is not enough left */
  async #take(bytes: number, { handle, path, stats }: Found & { kind: 'file' }): Promise<boolean> {
    // Without the records of releases, which are not the app's, a restore would fail.
    if (!placeOf(path).isOfApp) return true;
    const at = process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : join(this.#paths.home, path);
    return this.#used.room.take(bytes, stats.dev, at);
  }

  #headOf(found: Exclude<Found, { kind: 'unfit' }>, target: EnvironmentId | null): EntryHead {
    const { kind, path, stats } = found;
    return {
      path,
      type: kind,
      mode: stats.mode & 0o777,
      size: kind === 'file' ? stats.size : 0,
      mtime: Math.min(Math.max(0, Math.floor(stats.mtimeMs / 1000)), latest),
      target: kind === 'link' ? found.target : '',
      ...this.#owners.roles(stats, target),
    };
  }

  /** Returns what became of the first name of a file. Without it, a large file with many names would fill any disk. */
  #firstName({ dev, ino, nlink }: Stats): FirstName | undefined {
    return nlink > 1 ? this.#used.linked.get(`${dev}:${ino}`) : undefined;
  }

  /** @param refused why the file is not in the backup */
  #noteName({ path, stats }: Found & { kind: 'file' }, target: EnvironmentId | null, refused?: string): void {
    if (stats.nlink === 1 || target === null) return;
    const memory = 2 * path.length + 256;
    if (this.#used.memory + memory > this.#limits.memory) {
      if (refused === undefined)
        this.#note('copied without its other names, since too many files have several names', path);
      return;
    }
    this.#used.memory += memory;
    this.#used.linked.set(`${stats.dev}:${stats.ino}`, { path, names: 1, refused });
  }

  /** @returns pieces of a file with holes; undefined if it is to be stored in full; why it cannot be stored, otherwise */
  async #pieces({ handle, stats }: Found & { kind: 'file' }): Promise<Piece[] | string | undefined> {
    if (!isSparse(stats)) return undefined;
    const { searching } = this.#used;
    using _ = searching.start();
    const pieces =
      searching.left === 0
        ? `it took more than ${formatDuration(searching.total)} to find holes in files of this app`
        : await piecesOf(handle, stats, { pieces: this.#limits.pieces, time: searching.left });
    return typeof pieces === 'string' && isSmallInFull(stats) ? undefined : pieces;
  }

  /** Yields the content of a part of a file. The rest is missing if the file gets shorter, or if the disk cannot read it. */
  async *#contentOf(
    handle: FileHandle,
    piece: Piece,
    { path }: Found,
    target: EnvironmentId | null,
  ): AsyncGenerator<Buffer> {
    try {
      yield* contentOf(handle, piece);
    } catch (error) {
      if (target === null || systemCode(error) === undefined) throw error;
      this.#note(`copied in part, since it cannot be read (${systemCode(error)})`, path);
    }
  }

  /** Writes a copy by SQLite of a database that is in use. @returns false if the file is no such database, or SQLite fails */
  async #database(found: Found & { kind: 'file' }, target: EnvironmentId | null): Promise<boolean> {
    if (this.#firstName(found.stats) !== undefined) return false;
    await using copy = await this.#snapshot(found, target);
    if (copy === undefined) return false;
    const head = { ...this.#headOf(found, target), size: copy.size };
    await this.#writer.entry(
      head,
      this.#contentOf(copy.handle, { offset: 0, length: copy.size }, found, target),
    );
    this.#noteName(found, target);
    return true;
  }

  async #snapshot(
    found: Found & { kind: 'file' },
    target: EnvironmentId | null,
  ): Promise<Snapshot | undefined> {
    const { handle, path, stats } = found;
    const at = join(this.#paths.home, path);
    const { copying } = this.#used;
    try {
      const mode = await databaseMode(handle, at);
      if (mode === 'none' || mode === 'rest') return undefined;
      const owner = this.#owners.whose(stats, target);
      const refusal = this.#refusal(stats);
      if (owner === undefined || refusal !== undefined)
        return this.#noteUncopied(path, refusal ?? 'it belongs neither to the app nor to Sluice');
      // The app's own directory for such things is where it may write, on the same disk; the home is the server's.
      const { home } = this.#paths;
      const isApps = target !== null && owner.uid !== this.#owners.home.uid;
      const scratch = isApps ? this.#paths.environment(target).temporary : home;
      // A file with holes must not have time for more than its data.
      const size = Math.min(stats.size, 512 * stats.blocks);
      await using stack = new AsyncDisposableStack();
      const { left } = copying;
      const time = copying.start(usualTime(size));
      let copy: Snapshot;
      try {
        copy = stack.use(await takeSnapshot(at, mode, size, left, owner, scratch));
      } finally {
        time[Symbol.dispose]();
      }
      if (!(await this.#take(copy.size, found))) throw new ProgramFailed(this.#noRoom);
      const held = stack.move();
      const dispose = async () => {
        using _ = copying.start();
        await held.disposeAsync();
      };
      return { ...copy, [Symbol.asyncDispose]: dispose };
    } catch (error) {
      this.#options.signal.throwIfAborted();
      // An app may replace its files, and the copy, with anything.
      if (!(error instanceof ProgramFailed) && systemCode(error) === undefined) throw error;
      this.#used.failedCopies += 1;
      return this.#noteUncopied(path, (error as Error).message);
    }
  }

  /** Returns why no program is to copy a database, as a clause. */
  #refusal(stats: Stats): string | undefined {
    const { copying, failedCopies } = this.#used;
    // A copy has holes as data.
    if (isSparse(stats) && !isSmallInFull(stats)) return 'it has holes';
    if (failedCopies >= this.#limits.failedCopies)
      return `${failedCopies} others of this app could not be copied`;
    if (copying.left > 0) return undefined;
    return `copies of databases of this app took more than ${formatDuration(copying.total)}`;
  }

  #noteUncopied(path: string, why: string): undefined {
    this.#note(
      `copied as it stands, since SQLite could not copy it (${why}); stop the app for a sure copy`,
      path,
    );
  }
}

/** First name of a file with several names. */
interface FirstName {
  path: string;
  names: number;
  /** why the file is not in the backup */
  refused: string | undefined;
}

/** Part of the limits that an environment has used. */
class Used {
  /** by device and inode: files that have several names */
  readonly linked = new Map<string, FirstName>();
  readonly room: Room;
  readonly searching: TimeLimit;
  readonly copying: TimeLimit;
  memory = 0;
  failedCopies = 0;

  constructor({ disks, searching, copying }: Limits, now?: () => number) {
    this.room = new Room(disks);
    this.searching = new TimeLimit(searching, now);
    this.copying = new TimeLimit(copying, now);
  }
}

function unreadable(error: unknown): unknown {
  if (!hasCode(error, 'EACCES', 'EPERM')) return error;
  return new AppError('forbidden', (error as Error).message, {
    hint: 'Run it as root, or as the user that Sluice runs as: a backup without this file would not be whole.',
    cause: error,
  });
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

function unreachable(target: EnvironmentId, path: string): AppError {
  return new AppError(
    'files_obstructed',
    `${path} of ${environmentName(target)} is not there, or only by a link`,
    {
      hint: 'Nobody but Sluice makes these directories. See what has changed them: a backup follows no link in them.',
    },
  );
}

/** Yields a buffer for each part: whoever gets it may not be done with it when the next one is read. */
async function* contentOf(handle: FileHandle, { offset, length }: Piece): AsyncGenerator<Buffer> {
  for (let at = offset; at < offset + length; ) {
    const buffer = Buffer.allocUnsafe(Math.min(partSize, offset + length - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

const partSize = 256 * 1024;
