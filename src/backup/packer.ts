import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { AppError, hasCode, systemCode } from '../errors/app-error.ts';
import { ProgramFailed } from '../system/process/run.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import { NotATar } from './archive-reader.ts';
import type { ArchiveWriter } from './archive-writer.ts';
import type { EntryHead } from './format.ts';
import { locate } from './layout.ts';
import { type Limits, SizeLimit, usualLimits } from './limits.ts';
import type { Owner, Owners } from './owners.ts';
import { isSmallEnough, isSparse, readWithoutHoles, type StoredContent } from './sparse.ts';
import { besideDatabase, copyDatabase, databaseMode, usualTime } from './sqlite.ts';
import { below, type Found, openWithoutLinks, walk } from './walk.ts';

export interface PackerOptions {
  /** called for each file that is left out, or not copied exactly */
  note: (text: string) => void;
  /** aborted, with the reason, if the files may change */
  signal: AbortSignal;
  /** limits of each environment */
  limits?: Limits;
}

type FoundFile = Extract<Found, { kind: 'file' }>;

/** First name of a file with several names. */
interface FirstName {
  path: string;
  names: number;
  /** reason why the file is left out */
  refusal: string | undefined;
}

/**
 * Limit of paths in a backup, in bytes. A restore adds a longer path in front, and no program can open a path of more than
 * 4095 bytes.
 */
const maxPathLength = 3072;
/** Size limit of a file, in bytes: ext4 has no larger files, so a restore could not create it. */
const maxFileSize = 15 * 1024 ** 4;
const tooLarge = `it is larger than ${formatBytes(maxFileSize)}`;
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

/** Sources and destination of a backup. */
export interface BackupContext {
  paths: Paths;
  writer: ArchiveWriter;
  owners: Owners;
  options: PackerOptions;
}

/** Adds files of one environment, or of the whole appliance, to an archive, within the limits of an environment. */
export class Packer {
  readonly #context: BackupContext;
  readonly #id: EnvironmentId | null;
  /** user of the app */
  readonly #app: Owner | undefined;
  readonly #limits: Limits;
  readonly #size: SizeLimit;
  /** by device and inode: files with several names */
  readonly #firstNames = new Map<string, FirstName>();
  /** memory of these names, in bytes */
  #memory = 0;
  /** time spent, in ms: see Limits */
  #searching = 0;
  #copying = 0;
  #notes = 0;

  /** @param id null for files of the whole appliance, which must not be left out */
  constructor(context: BackupContext, id: EnvironmentId | null) {
    this.#context = context;
    this.#id = id;
    this.#app = id === null ? undefined : context.owners.findApp(id);
    this.#limits = context.options.limits ?? usualLimits;
    this.#size = new SizeLimit(this.#limits.disks);
  }

  /** Adds a file. @param path in the home @returns false if there is none */
  async addFile(path: string): Promise<boolean> {
    const isAdded = await this.#inHome(path, async (at) => {
      const file = await openWithoutLinks(at);
      await using _ = file?.handle;
      if (file !== undefined) await this.#addFile({ kind: 'file', path, ...file });
      return file !== undefined;
    });
    return isAdded ?? false;
  }

  /** Adds a directory if it exists. @param path in the home @param without names in it that are left out */
  async addTree(path: string, without: ReadonlySet<string> = new Set()): Promise<void> {
    await this.#inHome(path, async (at) => {
      const covered = new Set<string>();
      for await (const found of walk(at, maxPathLength - path.length, this.#context.options.limits)) {
        const [top = ''] = found.path.split('/', 1);
        if (without.has(top) || covered.delete(found.path)) continue;
        const entry = { ...found, path: found.path === '' ? path : `${path}/${found.path}` };
        if (found.path === '' && (found.kind === 'link' || found.kind === 'file'))
          this.#leaveOut(path, `it is a ${found.kind}`);
        else if (entry.kind !== 'file') await this.#add(entry);
        else if (await this.#addDatabase(entry))
          for (const ending of besideDatabase) covered.add(found.path + ending);
        else await this.#addFile(entry);
      }
    });
  }

  /** Reports the number of files that no note names. */
  end(): void {
    const more = this.#notes - maxNotes;
    const owner = this.#id === null ? 'Sluice' : environmentName(this.#id);
    if (more > 0)
      this.#context.options.note(`left out, or not copied exactly: ${more} more files of ${owner}`);
  }

  /** Calls `work` with a path of an entry in the home. Without users of apps, links are harmless. */
  async #inHome<Result>(path: string, work: (at: string) => Promise<Result>): Promise<Result | undefined> {
    const { paths, owners } = this.#context;
    try {
      return await (owners.isolated ? below(paths.home, path, work) : work(join(paths.home, path)));
    } catch (error) {
      if (!hasCode(error, 'EACCES', 'EPERM')) throw error;
      throw new AppError('forbidden', (error as Error).message, {
        hint: 'Run the command as root, or as the user that Sluice runs as: the backup would lack this file.',
        cause: error,
      });
    }
  }

  async #add(found: Exclude<Found, FoundFile>): Promise<void> {
    if (found.kind !== 'unfit') return this.#context.writer.entry(this.#headOf(found));
    if (this.#id === null && found.error !== undefined) throw found.error;
    this.#leaveOut(found.path, found.why);
  }

  async #addFile(found: FoundFile): Promise<void> {
    const { path, stats } = found;
    // The kernel forbids this unless `fs.protected_hardlinks` is 0. Files that Sluice makes as root have one name.
    if (stats.nlink > 1 && this.#readerOf(stats) === undefined)
      return this.#leaveOut(path, 'it has another name elsewhere, and belongs to another user');
    if (stats.size > maxFileSize) return this.#leaveOut(path, tooLarge);
    const first = this.#firstName(found);
    if (first !== undefined) {
      if (first.refusal !== undefined) return this.#leaveOut(path, first.refusal);
      if (first.names >= maxNames)
        return this.#leaveOut(path, `it is one of more than ${maxNames} names of one file`);
      first.names += 1;
      const link = { type: 'hardLink', size: 0, target: first.path } as const;
      return this.#context.writer.entry({ ...this.#headOf(found), ...link });
    }
    const content = await this.#contentOf(found);
    await using _ = typeof content === 'string' ? undefined : content.program;
    const refusal = typeof content === 'string' ? content : await this.#addContent(found, content);
    if (refusal === undefined) return;
    this.#rememberName(found, refusal);
    this.#leaveOut(path, refusal);
  }

  /** @returns the reason if the content does not fit into the backup, as a clause */
  async #addContent(
    found: FoundFile,
    { size, sparseSize, chunks }: StoredContent,
  ): Promise<string | undefined> {
    // The file may have grown since it was found.
    if ((sparseSize ?? size) > maxFileSize) return tooLarge;
    const shortage = await this.#reserve(size, found);
    if (shortage !== undefined) return shortage;
    this.#rememberName(found, undefined);
    const head = { ...this.#headOf(found), size, sparseSize };
    await this.#context.writer.entry(head, this.#readable(chunks, found.path));
    return undefined;
  }

  /** Returns the content of a file; if it cannot be copied, the reason, as a clause. */
  async #contentOf({ handle, stats }: FoundFile): Promise<StoredContent | string> {
    const whole = { size: stats.size, chunks: chunksOf(handle, stats.size) };
    if (this.#id === null || !isSparse(stats)) return whole;
    const found = await this.#findHoles(handle, stats);
    return typeof found === 'string' && isSmallEnough(stats) ? whole : found;
  }

  async #findHoles(handle: FileHandle, stats: Stats): Promise<StoredContent | string> {
    const { pieces, searching } = this.#limits;
    const time = searching - this.#searching;
    if (time <= 0) return `it took more than ${formatDuration(searching)} to find holes in files of this app`;
    const start = performance.now();
    try {
      return await readWithoutHoles(handle, stats, { pieces, time });
    } finally {
      this.#searching += performance.now() - start;
    }
  }

  /** Adds a copy by SQLite of a database in use. @returns false for other files, and if SQLite fails */
  async #addDatabase(found: FoundFile): Promise<boolean> {
    if (this.#id === null || this.#firstName(found) !== undefined) return false;
    const copy = await this.#takeSnapshot(found, this.#id);
    if (copy === undefined) return false;
    await using handle = copy.handle;
    const { size } = copy.stats;
    const refusal = await this.#addContent(found, { size, chunks: chunksOf(handle, size) });
    if (refusal === undefined) return true;
    this.#copying += usualTime(size);
    this.#noteUncopied(found.path, refusal);
    return false;
  }

  #leaveOut(path: string, why: string): void {
    this.#note(`left out, since ${why}`, path);
  }

  #note(text: string, path: string): void {
    this.#notes += 1;
    const shown = path.length > maxShownLength ? `${path.slice(0, maxShownLength)}…` : path;
    if (this.#notes <= maxNotes) this.#context.options.note(`${text}: ${shown}`);
  }

  #headOf(found: Exclude<Found, { kind: 'unfit' }>): EntryHead {
    const { kind, path, stats } = found;
    return {
      path,
      type: kind,
      mode: stats.mode & 0o777,
      size: kind === 'file' ? stats.size : 0,
      mtime: Math.min(Math.max(0, Math.floor(stats.mtimeMs / 1000)), latest),
      target: kind === 'link' ? found.target : '',
      ...this.#context.owners.rolesOf(stats, this.#app),
    };
  }

  /** Returns the user as whom a program may read a file: its owner, if that is the app or the owner of the home. */
  #readerOf({ uid }: Stats): Owner | undefined {
    const { isolated, home } = this.#context.owners;
    if (!isolated || uid === home.uid) return home;
    return uid === this.#app?.uid ? this.#app : undefined;
  }

  /** Reserves bytes for content of an app. @returns the reason if there are not enough left */
  async #reserve(bytes: number, { handle, path, stats }: FoundFile): Promise<string | undefined> {
    // A restore needs the records of releases, which no app writes.
    if (!locate(path).isOfApp) return undefined;
    const at =
      process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : join(this.#context.paths.home, path);
    if (await this.#size.take(bytes, stats.dev, at)) return undefined;
    return `there is more to copy than ${this.#limits.disks} times the size of the disk`;
  }

  /** Returns the first name of a file. Without hard links, a large file with many names would fill any disk. */
  #firstName({ path, stats: { dev, ino, nlink } }: FoundFile): FirstName | undefined {
    // A restore accepts hard links of apps only.
    return nlink > 1 && locate(path).isOfApp ? this.#firstNames.get(`${dev}:${ino}`) : undefined;
  }

  /** @param refusal reason why the file is left out */
  #rememberName({ path, stats }: FoundFile, refusal: string | undefined): void {
    if (stats.nlink === 1 || !locate(path).isOfApp) return;
    const memory = 2 * path.length + 256;
    if (this.#memory + memory <= this.#limits.memory) {
      this.#memory += memory;
      this.#firstNames.set(`${stats.dev}:${stats.ino}`, { path, names: 1, refusal });
    } else if (refusal === undefined)
      this.#note('copied without its other names, since too many files have several names', path);
  }

  /** Yields chunks up to an error of the disk. */
  async *#readable(chunks: AsyncIterable<Buffer>, path: string): AsyncGenerator<Buffer> {
    try {
      yield* chunks;
    } catch (error) {
      const code = error instanceof NotATar ? 'tar failed' : systemCode(error);
      if (this.#id === null || code === undefined) throw error;
      this.#note(`copied in part, since it cannot be read (${code})`, path);
    }
  }

  /** @returns undefined for other files, and if SQLite fails */
  async #takeSnapshot(
    { handle, path, stats }: FoundFile,
    id: EnvironmentId,
  ): Promise<{ handle: FileHandle; stats: Stats } | undefined> {
    const at = join(this.#context.paths.home, path);
    try {
      const mode = await databaseMode(handle, at);
      if (mode === undefined) return undefined;
      const owner = this.#readerOf(stats);
      if (owner === undefined) return this.#noteUncopied(path, 'it belongs neither to the app nor to Sluice');
      const refusal = this.#refuseSnapshot(stats);
      if (refusal !== undefined) return this.#noteUncopied(path, refusal);
      // An app may write only into a directory of its own.
      const { home } = this.#context.paths;
      const scratch = owner === this.#app ? this.#context.paths.environment(id).temporary : home;
      // Holes need no time.
      const size = Math.min(stats.size, 512 * stats.blocks);
      const left = this.#limits.copying - this.#copying;
      const start = performance.now();
      // Only a copy for the backup has its usual time free: an app may make any number of copies fail.
      let free = 0;
      try {
        const copy = await copyDatabase(at, mode, size, left, owner, scratch);
        free = usualTime(size);
        return copy;
      } finally {
        this.#copying += Math.max(0, performance.now() - start - free);
      }
    } catch (error) {
      this.#context.options.signal.throwIfAborted();
      // An app may replace its files, and the copy, with anything.
      if (!(error instanceof ProgramFailed) && systemCode(error) === undefined) throw error;
      return this.#noteUncopied(path, (error as Error).message);
    }
  }

  /** Returns the reason why SQLite must not copy a database, as a clause. */
  #refuseSnapshot(stats: Stats): string | undefined {
    // A copy has holes as data.
    if (isSparse(stats) && !isSmallEnough(stats)) return 'it has holes';
    const { copying } = this.#limits;
    if (this.#copying < copying) return undefined;
    return `copies of databases of this app took more than ${formatDuration(copying)}`;
  }

  #noteUncopied(path: string, why: string): undefined {
    this.#note(`copied without SQLite (${why}); stop the app for a consistent copy`, path);
  }
}

/** Yields the first bytes of a file, each chunk in a buffer of its own: consumers may use several at a time. */
export async function* chunksOf(handle: FileHandle, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < size; ) {
    const buffer = Buffer.allocUnsafe(Math.min(chunkSize, size - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
