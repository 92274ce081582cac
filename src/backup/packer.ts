import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { ProgramFailed } from '../system/process/run.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import type { Piece } from './archive-reader.ts';
import type { ArchiveWriter } from './archive-writer.ts';
import type { EntryHead } from './format.ts';
import { locate } from './layout.ts';
import { type Limits, SizeLimit, TimeLimit, usualLimits } from './limits.ts';
import type { Owners } from './owners.ts';
import { findPieces, isSmallEnough, isSparse } from './sparse.ts';
import { copyDatabase, type DatabaseCopy, databaseMode, usualTime } from './sqlite.ts';
import type { Found } from './walk.ts';

export interface PackerOptions {
  /** called for each file that is left out, or not copied exactly */
  note: (text: string) => void;
  /** aborted, with the reason, if the files may change */
  signal: AbortSignal;
  /** limits of each environment */
  limits?: Limits;
  /** returns a time in ms, for the limits */
  now?: () => number;
}

type FoundFile = Extract<Found, { kind: 'file' }>;

/** Size limit of a file, in bytes: ext4 has no larger files, so a restore could not create it. */
const maxFileSize = 15 * 1024 ** 4;
/** Limit of the names of one file: ext4 allows 65,000. */
const maxNames = 60_000;
/** Number of notes that name a file of one environment; further files are only counted. */
const maxNotes = 20;
/** Length limit of a path in a note, in characters. */
const maxShownLength = 300;
/** Latest time that fits into a header without an extended header, in s. */
const latest = 8 ** 11 - 1;
/** Size of a chunk, in bytes. */
const chunkSize = 256 * 1024;

/** Writes entries that a walk has found into an archive, within the limits of their environment. */
export class Packer {
  readonly #paths: Paths;
  readonly #writer: ArchiveWriter;
  readonly #owners: Owners;
  readonly #options: PackerOptions;
  readonly #limits: Limits;
  /** usage of the current environment */
  #usage: Usage;

  constructor(paths: Paths, writer: ArchiveWriter, owners: Owners, options: PackerOptions) {
    this.#paths = paths;
    this.#writer = writer;
    this.#owners = owners;
    this.#options = options;
    this.#limits = options.limits ?? usualLimits;
    this.#usage = new Usage(this.#limits, options.now);
  }

  /** Resets the limits, and reports the number of notes that were left out. */
  endEnvironment(id: EnvironmentId): void {
    const more = this.#usage.notes - maxNotes;
    if (more > 0)
      this.#options.note(`left out, or not copied exactly: ${more} more files of ${environmentName(id)}`);
    this.#usage = new Usage(this.#limits, this.#options.now);
  }

  note(text: string, path: string): void {
    this.#usage.notes += 1;
    const shown = path.length > maxShownLength ? `${path.slice(0, maxShownLength)}…` : path;
    if (this.#usage.notes <= maxNotes) this.#options.note(`${text}: ${shown}`);
  }

  /** Adds an entry. @param id null for files of the whole appliance, which must not be left out */
  async add(found: Found, id: EnvironmentId | null): Promise<void> {
    if (found.kind === 'unfit') {
      if (id === null && found.error !== undefined) throw found.error;
      this.#leaveOut(found, found.why);
    } else if (found.kind === 'file') await this.#addFile(found, id);
    else await this.#writer.entry(this.#headOf(found, id));
  }

  async #addFile(found: FoundFile, id: EnvironmentId | null): Promise<void> {
    const { path, stats, handle } = found;
    if (this.#owners.isForeign(stats, id))
      return this.#leaveOut(found, 'it has another name elsewhere, and belongs to another user');
    if (stats.size > maxFileSize)
      return this.#leaveOut(found, `it is larger than ${formatBytes(maxFileSize)}`);
    const head = this.#headOf(found, id);
    const first = this.#firstName(stats);
    if (first !== undefined) {
      if (first.refusal !== undefined) return this.#leaveOut(found, first.refusal);
      if (first.names >= maxNames)
        return this.#leaveOut(found, `it is one of more than ${maxNames} names of one file`);
      first.names += 1;
      return this.#writer.entry({ ...head, type: 'hardLink', size: 0, target: first.path });
    }
    const whole: Piece = { offset: 0, length: stats.size };
    const pieces = id !== null && isSparse(stats) ? await this.#findPieces(found) : undefined;
    const refusal = typeof pieces === 'string' ? pieces : await this.#reserve(pieces ?? [whole], found);
    if (id !== null) this.#rememberName(found, refusal);
    if (refusal !== undefined) return this.#leaveOut(found, refusal);
    const content = (piece: Piece) => this.#contentOf(handle, piece, path, id);
    if (Array.isArray(pieces)) await this.#writer.sparseEntry(head, pieces, content);
    else await this.#writer.entry(head, content(whole));
  }

  /** Adds a copy by SQLite of a database in use. @returns false for other files, and if SQLite fails */
  async addDatabase(found: FoundFile, id: EnvironmentId | null): Promise<boolean> {
    if (this.#firstName(found.stats) !== undefined) return false;
    await using copy = await this.#takeSnapshot(found, id);
    if (copy === undefined) return false;
    const head = { ...this.#headOf(found, id), size: copy.size };
    await this.#writer.entry(
      head,
      this.#contentOf(copy.handle, { offset: 0, length: copy.size }, found.path, id),
    );
    if (id !== null) this.#rememberName(found);
    return true;
  }

  #leaveOut({ path }: Found, why: string): void {
    this.note(`left out, since ${why}`, path);
  }

  #headOf(found: Exclude<Found, { kind: 'unfit' }>, id: EnvironmentId | null): EntryHead {
    const { kind, path, stats } = found;
    return {
      path,
      type: kind,
      mode: stats.mode & 0o777,
      size: kind === 'file' ? stats.size : 0,
      mtime: Math.min(Math.max(0, Math.floor(stats.mtimeMs / 1000)), latest),
      target: kind === 'link' ? found.target : '',
      ...this.#owners.rolesOf(stats, id),
    };
  }

  /** Reserves bytes for content of an app. @returns the reason if there are not enough left */
  async #reserve(pieces: Piece[], { handle, path, stats }: FoundFile): Promise<string | undefined> {
    // A restore needs the records of releases, which no app writes.
    if (!locate(path).isOfApp) return undefined;
    const at = process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : join(this.#paths.home, path);
    const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
    if (await this.#usage.size.take(bytes, stats.dev, at)) return undefined;
    return `there is more to copy than ${this.#limits.disks} times the size of the disk`;
  }

  /** Returns the first name of a file. Without hard links, a large file with many names would fill any disk. */
  #firstName({ dev, ino, nlink }: Stats): FirstName | undefined {
    return nlink > 1 ? this.#usage.firstNames.get(`${dev}:${ino}`) : undefined;
  }

  /** @param refusal reason why the file is left out */
  #rememberName({ path, stats }: FoundFile, refusal?: string): void {
    if (stats.nlink === 1) return;
    const memory = 2 * path.length + 256;
    if (this.#usage.memory + memory <= this.#limits.memory) {
      this.#usage.memory += memory;
      this.#usage.firstNames.set(`${stats.dev}:${stats.ino}`, { path, names: 1, refusal });
    } else if (refusal === undefined)
      this.note('copied without its other names, since too many files have several names', path);
  }

  /** @returns undefined for a file to copy in full; a string if it cannot be copied: the reason */
  async #findPieces({ handle, stats }: FoundFile): Promise<Piece[] | string | undefined> {
    const { searching } = this.#usage;
    using _ = searching.start();
    const pieces =
      searching.left === 0
        ? `it took more than ${formatDuration(searching.total)} to find holes in files of this app`
        : await findPieces(handle, stats, { pieces: this.#limits.pieces, time: searching.left });
    return typeof pieces === 'string' && isSmallEnough(stats) ? undefined : pieces;
  }

  /** Yields the content of a piece, without its end if the file gets shorter or the disk cannot read it. */
  async *#contentOf(
    handle: FileHandle,
    piece: Piece,
    path: string,
    id: EnvironmentId | null,
  ): AsyncGenerator<Buffer> {
    try {
      yield* contentOf(handle, piece);
    } catch (error) {
      if (id === null || systemCode(error) === undefined) throw error;
      this.note(`copied in part, since it cannot be read (${systemCode(error)})`, path);
    }
  }

  /** @returns undefined for other files, and if SQLite fails */
  async #takeSnapshot(found: FoundFile, id: EnvironmentId | null): Promise<DatabaseCopy | undefined> {
    const { handle, path, stats } = found;
    const at = join(this.#paths.home, path);
    const { copying } = this.#usage;
    try {
      const mode = await databaseMode(handle, at);
      if (mode === 'none' || mode === 'rest') return undefined;
      const owner = this.#owners.readerOf(stats, id);
      const refusal = this.#refuseSnapshot(stats);
      if (owner === undefined || refusal !== undefined)
        return this.#noteUncopied(path, refusal ?? 'it belongs neither to the app nor to Sluice');
      // An app may write only into a directory of its own.
      const { home } = this.#paths;
      const isApps = id !== null && owner.uid !== this.#owners.home.uid;
      const scratch = isApps ? this.#paths.environment(id).temporary : home;
      // Holes need no time.
      const size = Math.min(stats.size, 512 * stats.blocks);
      await using stack = new AsyncDisposableStack();
      const { left } = copying;
      const time = copying.start(usualTime(size));
      let copy: DatabaseCopy;
      try {
        copy = stack.use(await copyDatabase(at, mode, size, left, owner, scratch));
      } finally {
        time[Symbol.dispose]();
      }
      const shortage = await this.#reserve([{ offset: 0, length: copy.size }], found);
      if (shortage !== undefined) throw new ProgramFailed(shortage);
      const resources = stack.move();
      const dispose = async () => {
        using _ = copying.start();
        await resources.disposeAsync();
      };
      return { ...copy, [Symbol.asyncDispose]: dispose };
    } catch (error) {
      this.#options.signal.throwIfAborted();
      // An app may replace its files, and the copy, with anything.
      if (!(error instanceof ProgramFailed) && systemCode(error) === undefined) throw error;
      this.#usage.failedCopies += 1;
      return this.#noteUncopied(path, (error as Error).message);
    }
  }

  /** Returns the reason why SQLite must not copy a database, as a clause. */
  #refuseSnapshot(stats: Stats): string | undefined {
    const { copying, failedCopies } = this.#usage;
    // A copy has holes as data.
    if (isSparse(stats) && !isSmallEnough(stats)) return 'it has holes';
    if (failedCopies >= this.#limits.failedCopies)
      return `${failedCopies} others of this app could not be copied`;
    if (copying.left > 0) return undefined;
    return `copies of databases of this app took more than ${formatDuration(copying.total)}`;
  }

  #noteUncopied(path: string, why: string): undefined {
    this.note(`copied without SQLite (${why}); stop the app for a consistent copy`, path);
  }
}

/** First name of a file with several names. */
interface FirstName {
  path: string;
  names: number;
  /** reason why the file is left out */
  refusal: string | undefined;
}

/** Usage of the limits by one environment. */
class Usage {
  /** by device and inode: files with several names */
  readonly firstNames = new Map<string, FirstName>();
  readonly size: SizeLimit;
  readonly searching: TimeLimit;
  readonly copying: TimeLimit;
  memory = 0;
  failedCopies = 0;
  notes = 0;

  constructor({ disks, searching, copying }: Limits, now?: () => number) {
    this.size = new SizeLimit(disks);
    this.searching = new TimeLimit(searching, now);
    this.copying = new TimeLimit(copying, now);
  }
}

/** Yields the content of a piece, each chunk in a buffer of its own: consumers may use several at a time. */
export async function* contentOf(handle: FileHandle, { offset, length }: Piece): AsyncGenerator<Buffer> {
  for (let at = offset; at < offset + length; ) {
    const buffer = Buffer.allocUnsafe(Math.min(chunkSize, offset + length - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
