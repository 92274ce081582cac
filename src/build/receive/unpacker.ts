import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join, posix } from 'node:path';
import { Parser } from 'tar/parse';
import type { ReadEntry } from 'tar/read-entry';
import { AppError, systemCode } from '../../errors/app-error.ts';
import {
  shown,
  tooLarge,
  tooManyEntries,
  tooManyLinks,
  truncated,
  unreadable,
  unsafe,
  writing,
} from './archive-errors.ts';
import { assertLinksStayInside, assertName, entryPath } from './entry-path.ts';
import type { ArchiveLimits } from './receive.ts';
import { assertNotCompressed } from './upload.ts';

/**
 * Writes a tar into an empty directory, a chunk at a time, with synchronous calls: 20,000 small files take 0.7 s,
 * with asynchronous ones 3 s. The server turns between two chunks, and no app's traffic passes through it.
 *
 * Symbolic links are made last: until then no path can lead through one, whatever the order of the archive is.
 * Owners, times and special mode bits are not taken over. Times, because `npm pack` gives all files the same, and
 * a server that makes an ETag of size and time would then serve an old file for a new one.
 *
 * Memory does not grow with the archive: directories are looked up on the disk, and a limit holds for what is kept in memory.
 */
export class Unpacker {
  readonly #root: string;
  readonly #limits: ArchiveLimits;
  readonly #parser = new Parser({ strict: true, maxMetaEntrySize: maxExtendedHeader });
  readonly #links = new Map<string, string>();
  /** the first name at the root, and whether there are others */
  #top: { name: string; isOnly: boolean } | undefined;
  /** the directory that was looked up last */
  #directory = '';
  /** upper bound of the memory that the remembered paths take, in bytes */
  #remembered = 0;
  readonly #lfsPointers: string[] = [];
  /** descriptor of the file that is being written */
  #file: number | undefined;
  #beyondHeader = false;
  #ended = false;
  #entries = 0;
  #files = 0;
  #tarBytes = 0;
  #extractedBytes = 0;

  constructor(root: string, limits: ArchiveLimits) {
    this.#root = root;
    this.#limits = limits;
    // What these throw comes out of the parser's `write`.
    this.#parser.on('entry', (entry) => this.#read(entry));
    this.#parser.on('ignoredEntry', (entry) => refuseType(entry));
    this.#parser.on('eof', () => {
      this.#ended = true;
    });
    this.#parser.on('error', (error) => {
      if (!this.#beyondHeader) throw noTar(error);
      throw unreadable(`the archive is damaged: ${error.message}`, { cause: error });
    });
  }

  get entries(): number {
    return this.#entries;
  }
  /** regular files, by whatever link */
  get files(): number {
    return this.#files;
  }
  get extractedBytes(): number {
    return this.#extractedBytes;
  }

  /** Unpacks a chunk of the tar, a whole number of 512-byte blocks. */
  write(blocks: Buffer): void {
    if (this.#tarBytes === 0) assertNotCompressed(blocks);
    this.#tarBytes += blocks.length;
    if (this.#tarBytes > this.#limits.maxExtractedBytes) throw tooLarge(this.#limits);
    // What follows the end marker is padding; the parser would keep all of it.
    if (!this.#ended) this.#parser.write(blocks);
  }

  /** All files are there when this returns. @throws AppError where the archive ends before its end */
  assertEnded(): void {
    if (!this.#ended) throw this.#beyondHeader ? truncated() : noTar();
  }

  /**
   * The one folder around everything: `package` of npm, `repository-commit` of a forge; empty where the root holds more
   * than one directory.
   */
  leadingFolder(): string {
    const { name, isOnly } = this.#top ?? { name: '', isOnly: false };
    return isOnly && this.#isDirectory(name) ? name : '';
  }

  /**
   * Makes the links.
   * @param folder the directory that is to be all there is; empty for the root itself
   * @returns its absolute path, and the paths in it of what git-lfs has put in place of files
   */
  finish(folder: string): { tree: string; lfsPointers: string[] } {
    if (!this.#isDirectory(folder)) throw noDirectory(folder);
    const tree = join(this.#root, folder);
    const isInside = (path: string) => folder === '' || path.startsWith(`${folder}/`);
    const below = (path: string) => (folder === '' ? path : path.slice(folder.length + 1));
    // Links beside the folder are dropped, as is everything else beside it.
    for (const path of this.#links.keys()) if (!isInside(path)) this.#links.delete(path);
    assertLinksStayInside(this.#links, folder);
    for (const [path, target] of this.#links) {
      writing(below(path), () => symlinkSync(target, join(this.#root, path)));
    }
    return { tree, lfsPointers: this.#lfsPointers.filter(isInside).map(below) };
  }

  /** Closes the file that is being written where unpacking ends before its end. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #read(entry: ReadEntry): void {
    this.#beyondHeader = true;
    this.#count();
    const path = entryPath(entry.path);
    this.#noteTop(path.split('/', 1)[0] ?? '');
    writing(entry.path, () => this.#make(path, entry));
  }

  #make(path: string, entry: ReadEntry): void {
    const target = entry.linkpath ?? '';
    if (entry.type === 'Directory' || entry.type === 'GNUDumpDir') {
      this.#makeDirectory(path);
      entry.resume();
      return;
    }
    if (path === '') throw unsafe(`${shown(entry.path)} is the root and no directory`);
    this.#makeParent(path);
    switch (entry.type) {
      case 'File':
      case 'OldFile':
      case 'ContiguousFile':
        this.#openFile(path, entry.mode ?? 0);
        entry.once('data', (chunk: Buffer) => this.#noteLfsPointer(path, chunk));
        entry.on('data', (chunk: Buffer) => this.#writeFile(chunk));
        entry.on('end', () => this.close());
        return;
      case 'Link':
        this.#makeHardLink(path, entryPath(target));
        break;
      case 'SymbolicLink':
        assertName(target);
        this.#remember(path, target);
        this.#links.set(path, copy(target));
        break;
      default:
        refuseType(entry);
    }
    entry.resume();
  }

  #count(): void {
    this.#entries += 1;
    if (this.#entries > this.#limits.maxEntries) throw tooManyEntries(this.#limits);
  }

  /** Notes a name at the root. tar on macOS puts the attributes of `app` into a file `._app` beside it, which does not count. */
  #noteTop(name: string): void {
    if (name === '' || name.startsWith('._') || name === this.#top?.name) return;
    this.#top = { name, isOnly: this.#top === undefined };
  }

  #remember(...texts: string[]): void {
    for (const text of texts) this.#remembered += textOverhead + 2 * text.length;
    if (this.#remembered > maxRemembered) throw tooManyLinks(maxRemembered);
  }

  /** Returns true if a directory has been made. No path leads through a link yet. */
  #isDirectory(path: string): boolean {
    // Most entries are in the directory of the entry before, or above it.
    if (path === '' || path === this.#directory || this.#directory.startsWith(`${path}/`)) return true;
    if (lstatSync(join(this.#root, path), { throwIfNoEntry: false })?.isDirectory() !== true) return false;
    this.#directory = path;
    return true;
  }

  #makeDirectory(path: string): void {
    if (this.#isDirectory(path)) return;
    this.#makeParent(path);
    mkdirSync(join(this.#root, path));
    this.#directory = path;
  }

  /** A directory need not have an entry of its own; it counts as one all the same. */
  #makeParent(path: string): void {
    const parent = path.includes('/') ? posix.dirname(path) : '';
    if (this.#isDirectory(parent)) return;
    this.#count();
    this.#makeDirectory(parent);
  }

  #openFile(path: string, mode: number): void {
    const permissions = mode & 0o111 ? 0o755 : 0o644;
    this.#file = this.#replacing(path, (absolute) => openSync(absolute, 'wx', permissions));
    this.#files += 1;
  }

  /** @param head the first bytes of a file */
  #noteLfsPointer(path: string, head: Buffer): void {
    if (!lfsPointer.test(head.toString('latin1', 0, 200))) return;
    this.#remember(path);
    this.#lfsPointers.push(path);
  }

  #writeFile(chunk: Buffer): void {
    if (this.#file === undefined) throw new Error('no file is open');
    for (let written = 0; written < chunk.length; ) written += writeSync(this.#file, chunk, written);
    this.#extractedBytes += chunk.length;
  }

  #makeHardLink(path: string, target: string): void {
    this.#replacing(path, (absolute) => linkSync(join(this.#root, target), absolute));
    this.#files += 1;
  }

  /** A later entry of the same path takes the place of the earlier one, as with every tar. */
  #replacing<T>(path: string, create: (absolute: string) => T): T {
    const absolute = join(this.#root, path);
    try {
      return create(absolute);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      unlinkSync(absolute);
      return create(absolute);
    }
  }
}

/** How the stand-in for a file begins that git-lfs keeps elsewhere (git-lfs, docs/spec.md, "The Pointer"). */
const lfsPointer = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n(?:ext-.+\n)*oid sha256:/;

/**
 * Limits the memory for paths and targets of links, and for paths of git-lfs files, in bytes. All links are kept until the end,
 * because they are checked together. The 15,000 links of a large node_modules of pnpm take 6 MiB.
 */
const maxRemembered = 16 * 1024 ** 2;
/** Memory that V8 takes for a text in a map besides its characters, in bytes. */
const textOverhead = 64;

/** Copies a text that the parser has cut out of a longer text: the slice would keep the longer text in memory. */
function copy(text: string): string {
  return Buffer.from(text).toString();
}

function noDirectory(folder: string): Error {
  return new AppError('invalid_settings', `"root" is ${shown(folder)}, and there is no such directory`, {
    hint: 'It is a directory in what is pushed or uploaded, relative to its top. Behind a link it is not found.',
  });
}

function noTar(cause?: unknown): Error {
  return unreadable('the upload is not a tar archive', { cause });
}

/**
 * Limits the extended header of an entry, in bytes: it has a long path or attributes. The parser cuts the header into lines,
 * and empty lines take many times as much memory as their bytes.
 */
const maxExtendedHeader = 128 * 1024;

function refuseType(entry: ReadEntry): never {
  if (entry.meta) {
    throw unreadable(`the extended header ${shown(entry.path)} is larger than ${maxExtendedHeader} bytes`, {
      hint: 'Make the archive without extended attributes: `tar --no-xattrs`.',
    });
  }
  throw unsafe(`${shown(entry.path)} is of the type ${entry.type}, which is not unpacked`);
}
