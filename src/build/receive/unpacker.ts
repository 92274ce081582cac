import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { Parser } from 'tar/parse';
import type { ReadEntry } from 'tar/read-entry';
import { AppError, systemCode } from '../../errors/app-error.ts';
import { formatBytes } from '../../system/text/format.ts';
import { shown, truncated, unreadable, unsafe, writing } from './archive-errors.ts';
import { assertLinksStayInside, assertName, entryPath } from './entry-path.ts';
import { isAppleDouble, isMacPath, mayBeAppleDouble } from './mac-files.ts';
import type { ArchiveLimits } from './receive.ts';
import { assertNotCompressed } from './upload.ts';

/**
 * Writes a tar into an empty directory, chunk by chunk, with synchronous calls: 20,000 small files take 0.7 s, and 3 s with
 * asynchronous calls. The server handles other events between two chunks, and no app's traffic passes through the server.
 *
 * Creates symbolic links last: until then no path can pass through a link, whatever the order of entries is.
 * Ignores owners, times and special mode bits. `npm pack` gives all files the same time, and a server that computes an ETag from
 * size and time would serve an old file for a new one.
 *
 * Memory does not grow with the archive: this class looks up directories on the disk, and limits the texts in memory.
 */
export class Unpacker {
  entries = 0;
  /** number of regular files and hard links */
  files = 0;
  extractedBytes = 0;
  /** files of macOS that were left out: their number, and the path of the first one */
  macFiles: { count: number; first: string } | null = null;
  readonly #root: string;
  readonly #limits: ArchiveLimits;
  readonly #parser = new Parser({ strict: true, maxMetaEntrySize: maxExtendedHeader });
  readonly #links = new Map<string, string>();
  /** first name at the root, and true if all entries have it */
  #top: { name: string; isOnly: boolean } | undefined;
  /** last directory that was found on the disk */
  #directory = '';
  /** upper bound of the memory for texts, in bytes */
  #textMemory = 0;
  readonly #lfsPointers: string[] = [];
  /** descriptor of the open file */
  #file: number | undefined;
  /** name of the sparse file whose extended header was read last */
  #sparse: string | undefined;
  #beyondHeader = false;
  #ended = false;
  #tarBytes = 0;

  constructor(root: string, limits: ArchiveLimits) {
    this.#root = root;
    this.#limits = limits;
    // The parser's `write` throws the errors of these listeners.
    this.#parser.on('entry', (entry) => this.#unpack(entry));
    this.#parser.on('meta', (header) => {
      rejectDamagedPaths(header);
      this.#sparse ??= sparseName(header);
    });
    this.#parser.on('ignoredEntry', (entry) => rejectType(entry));
    this.#parser.on('eof', () => {
      this.#ended = true;
    });
    this.#parser.on('error', (error) => {
      if (!this.#beyondHeader) throw notTar(error);
      throw unreadable(`the archive is damaged: ${error.message}`, { cause: error });
    });
  }

  /** Unpacks a chunk of the tar: whole blocks of 512 bytes, except at the end. */
  write(blocks: Buffer): void {
    if (this.#tarBytes === 0) assertNotCompressed(blocks);
    this.#tarBytes += blocks.length;
    const { maxExtractedBytes } = this.#limits;
    if (this.#tarBytes > maxExtractedBytes) {
      const message = `the archive unpacks to more than ${formatBytes(maxExtractedBytes)}`;
      throw new AppError('archive_too_large', message, {
        hint: 'Leave out node_modules and data, or raise "maxExtractedBytes" in config.json.',
      });
    }
    // Padding follows the end marker; the parser would keep all of it in memory.
    if (!this.#ended) this.#parser.write(blocks);
  }

  /** @throws AppError if the archive is not complete */
  assertEnded(): void {
    if (!this.#ended) throw this.#beyondHeader ? truncated() : notTar();
  }

  /**
   * Returns the single folder around everything, such as `package` of npm or `repository-commit` of a git host; '' if the root
   * has other entries.
   */
  leadingFolder(): string {
    const { name, isOnly } = this.#top ?? { name: '', isOnly: false };
    return isOnly && this.#isDirectory(name) ? name : '';
  }

  /**
   * Creates the links.
   * @param folder directory of the release; '' for the root
   * @returns absolute path of the directory, and the paths of git-lfs pointers in it
   */
  finish(folder: string): { tree: string; lfsPointers: string[] } {
    if (!this.#isDirectory(folder)) throw noDirectory(folder);
    const tree = join(this.#root, folder);
    const isInside = (path: string) => folder === '' || path.startsWith(`${folder}/`);
    const below = (path: string) => (folder === '' ? path : path.slice(folder.length + 1));
    // Everything outside the folder is dropped, including links.
    for (const path of this.#links.keys()) if (!isInside(path)) this.#links.delete(path);
    assertLinksStayInside(this.#links, folder);
    for (const [path, target] of this.#links) {
      writing(below(path), () => symlinkSync(target, join(this.#root, path)));
    }
    return { tree, lfsPointers: this.#lfsPointers.filter(isInside).map(below) };
  }

  /** Closes the open file, if any. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #unpack(entry: ReadEntry): void {
    this.#beyondHeader = true;
    if (this.#sparse !== undefined) throw sparseFile(this.#sparse || entry.path);
    const path = entryPath(entry.path);
    if (isMacPath(path)) {
      this.#count(1);
      this.#leaveOut(path);
      entry.resume();
      return;
    }
    this.#recordTop(path.split('/', 1)[0] ?? '');
    writing(entry.path, () => this.#create(path, entry));
  }

  #create(path: string, entry: ReadEntry): void {
    const target = entry.linkpath ?? '';
    if (entry.type === 'Directory' || entry.type === 'GNUDumpDir') {
      this.#count(this.#createDirectory(path) || 1);
      entry.resume();
      return;
    }
    if (path === '') throw unsafe(`${shown(entry.path)} is the root, but not a directory`);
    // A parent without an entry of its own counts, too.
    this.#count(1 + this.#createDirectory(path.slice(0, Math.max(0, path.lastIndexOf('/')))));
    switch (entry.type) {
      case 'File':
      case 'OldFile':
      case 'ContiguousFile':
        this.#unpackFile(path, entry);
        return;
      case 'Link': {
        const existing = join(this.#root, entryPath(target));
        this.#createOrReplace(path, (absolute) => linkSync(existing, absolute));
        break;
      }
      case 'SymbolicLink':
        assertName(target);
        this.#countText(path, target);
        this.#links.set(path, copy(target));
        break;
      default:
        rejectType(entry);
    }
    entry.resume();
  }

  #count(created: number): void {
    this.entries += created;
    const { maxEntries } = this.#limits;
    if (this.entries <= maxEntries) return;
    throw new AppError('archive_too_many_entries', `the archive contains more than ${maxEntries} entries`, {
      hint: 'Leave out node_modules and build output, which Sluice makes on the server. Or raise "maxEntries" in config.json.',
    });
  }

  /** Records a name at the root, unless it may be a file in which macOS keeps attributes. */
  #recordTop(name: string): void {
    if (name === '' || mayBeAppleDouble(name) || name === this.#top?.name) return;
    this.#top = { name, isOnly: this.#top === undefined };
  }

  /** Counts the memory of texts. @throws AppError `archive_too_many_entries` */
  #countText(...texts: string[]): void {
    for (const text of texts) this.#textMemory += textOverhead + 2 * text.length;
    if (this.#textMemory <= maxTextMemory) return;
    throw new AppError(
      'archive_too_many_entries',
      `the paths and targets of the links in the archive take more than ${formatBytes(maxTextMemory)}`,
      { hint: 'Leave out node_modules and build output, which Sluice makes on the server.' },
    );
  }

  /** Returns true if the directory exists. No path passes through a link yet. */
  #isDirectory(path: string): boolean {
    return lstatSync(join(this.#root, path), { throwIfNoEntry: false })?.isDirectory() === true;
  }

  /** Creates a directory and its parents. @returns the number of those that did not exist */
  #createDirectory(path: string): number {
    // Most entries are in the directory of the previous entry, or above it.
    if (`${this.#directory}/`.startsWith(`${path}/`) || path === '') return 0;
    const absolute = join(this.#root, path);
    const first = mkdirSync(absolute, { recursive: true });
    this.#directory = path;
    return first === undefined ? 0 : 1 + relative(first, absolute).split('/').filter(Boolean).length;
  }

  #unpackFile(path: string, entry: ReadEntry): void {
    if (!mayBeAppleDouble(path) || entry.size === 0) {
      this.#writeFile(path, entry);
      return;
    }
    entry.once('data', (head: Buffer) => {
      if (isAppleDouble(head)) this.#leaveOut(path);
      else writing(entry.path, () => this.#writeFile(path, entry, head));
    });
  }

  /** @param head first bytes of the file, if they were read already */
  #writeFile(path: string, entry: ReadEntry, head?: Buffer): void {
    const mode = (entry.mode ?? 0) & 0o111 ? 0o755 : 0o644;
    const file = this.#createOrReplace(path, (absolute) => openSync(absolute, 'wx', mode));
    this.#file = file;
    const write = (chunk: Buffer) => {
      writeFileSync(file, chunk);
      this.extractedBytes += chunk.length;
    };
    if (head === undefined) entry.once('data', (chunk: Buffer) => this.#recordLfsPointer(path, chunk));
    else write(head);
    entry.on('data', write);
    entry.on('end', () => this.close());
  }

  #leaveOut(path: string): void {
    this.macFiles = { count: (this.macFiles?.count ?? 0) + 1, first: this.macFiles?.first ?? copy(path) };
  }

  /** @param head first bytes of a file */
  #recordLfsPointer(path: string, head: Buffer): void {
    if (!lfsPointer.test(head.toString('latin1', 0, 200))) return;
    this.#countText(path);
    this.#lfsPointers.push(path);
  }

  /** Creates a file, and replaces an earlier entry of the same path, as every tar does. */
  #createOrReplace<T>(path: string, create: (absolute: string) => T): T {
    const absolute = join(this.#root, path);
    this.files += 1;
    try {
      return create(absolute);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      unlinkSync(absolute);
      return create(absolute);
    }
  }
}

/** First lines of a pointer that git-lfs stores instead of a file (git-lfs, docs/spec.md, "The Pointer"). */
const lfsPointer = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n(?:ext-.+\n)*oid sha256:/;

/**
 * Limits the memory for paths and targets of links, and for paths of git-lfs pointers, in bytes. All links stay in memory,
 * because they are checked together. The 15,000 links of a large node_modules of pnpm take 6 MiB.
 */
const maxTextMemory = 16 * 1024 ** 2;
/** Memory that V8 takes for a string in a map besides its characters, in bytes. */
const textOverhead = 64;

/** Copies a slice of a string: the slice would keep the whole string in memory. */
function copy(text: string): string {
  return Buffer.from(text).toString();
}

function noDirectory(folder: string): Error {
  return new AppError('invalid_settings', `"root" is ${shown(folder)}, but there is no such directory`, {
    hint: 'Set a directory of the pushed or uploaded files, relative to their root. The path must not pass through a link.',
  });
}

function notTar(cause?: unknown): Error {
  return unreadable('the upload is not a tar archive', { cause });
}

/**
 * Limits the extended header of an entry, in bytes, which has a long path or attributes. The parser splits the header into
 * lines, and empty lines take many times as much memory as their bytes.
 */
const maxExtendedHeader = 128 * 1024;

/**
 * Rejects an extended header with a path that the parser drops, for which it would use a short name: a path with a line end,
 * or with a character of several bytes on the border of two chunks. The latter needs a header of more than 512 bytes.
 * @param header text of the header; the length in a record counts its bytes, with the line end
 */
function rejectDamagedPaths(header: string): void {
  for (const [record, length] of header.matchAll(/^(\d+) (?:link)?path=[^\n]*/gm)) {
    if (Number(length) === Buffer.byteLength(record) + 1) continue;
    throw unreadable(`the path ${shown(record.slice(record.indexOf('=') + 1))} cannot be read`, {
      hint: 'Rename this file: Sluice unpacks no path with a line end, and not every path of more than 400 bytes.',
    });
  }
}

/** Returns the name of the file if a header is for a sparse file in one of GNU tar's formats; '' if the name follows. */
function sparseName(header: string): string | undefined {
  if (!/^\d+ GNU\.sparse\./m.test(header)) return undefined;
  return /^\d+ GNU\.sparse\.name=(.*)$/m.exec(header)?.[1] ?? '';
}

function sparseFile(path: string): AppError {
  return unreadable(`${shown(path)} is a sparse file`, { hint: 'Make the archive without --sparse (-S).' });
}

function rejectType(entry: ReadEntry): never {
  if (entry.type === 'SparseFile') throw sparseFile(entry.path);
  if (entry.meta) {
    throw unreadable(`the extended header ${shown(entry.path)} is larger than ${maxExtendedHeader} bytes`, {
      hint: 'Make the archive without extended attributes: `tar --no-xattrs`.',
    });
  }
  throw unsafe(`${shown(entry.path)} has the type ${entry.type}, which Sluice does not unpack`);
}
