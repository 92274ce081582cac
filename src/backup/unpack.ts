import {
  chmodSync,
  closeSync,
  fchmodSync,
  ftruncateSync,
  futimesSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { AppError, systemCode } from '../errors/app-error.ts';
import { freeBytes } from '../system/fs/files.ts';
import { formatBytes } from '../system/text/format.ts';
import { NotATar, type ReadEntry, readArchive } from './archive-reader.ts';
import { type Head, headName, manifestName, notABackup, parseHead, parseManifest } from './format.ts';
import { usualOwner } from './owners.ts';
import { placeOf, unsafeEntry } from './place.ts';
import { piecesIn } from './sparse-content.ts';
import { type EntryHead, Sums } from './sums.ts';

/** What was unpacked, and whose it was. */
export interface Unpacked {
  head: Head;
  /** by path: whose what is that did not belong to whom one would think, see `usualOwner` */
  owners: Map<string, { owner: string; group: string }>;
  /** directories that hold it together, of which it says nothing */
  between: Set<string>;
}

/** What a backup says of itself is no longer than this, in bytes: 100,000 environments. */
const longestText = 16 * 1024 ** 2;
/** After so many bytes it is looked again whether there is room. */
const lookEvery = 64 * 1024 ** 2;

/**
 * Unpacks a backup into an empty directory that nobody else can enter, and makes sure that it is whole and as it was
 * written. The archive may be anything: no entry leads out of the directory, through a link, or over another entry.
 * @param options `minFree`: bytes that are to stay free on the disk, for those who run there
 * @throws AppError `archive_unreadable`, `archive_truncated`, `archive_unsafe`, `disk_full`
 */
export async function unpack(
  input: Readable,
  directory: string,
  { minFree, signal }: { minFree: number; signal: AbortSignal },
): Promise<Unpacked> {
  const unpacker = new Unpacker(directory);
  try {
    const take = async (chunks: AsyncIterable<Buffer>) => {
      for await (const entry of readArchive(withRoom(chunks, directory, minFree))) await unpacker.take(entry);
    };
    await pipeline(input, createGunzip(), take, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw explained(error, unpacker.hasBegun);
  }
  return unpacker.finish();
}

/** Passes content on, and checks from time to time if the disk has room. */
async function* withRoom(
  chunks: AsyncIterable<Buffer>,
  directory: string,
  minFree: number,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  let looked = Number.NEGATIVE_INFINITY;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes - looked >= lookEvery) {
      looked = bytes;
      await assertRoom(directory, minFree);
    }
    yield chunk;
  }
}

class Unpacker {
  readonly #root: string;
  readonly #sums = new Sums();
  readonly #seen = new Set<string>();
  readonly #directories = new Set<string>(['']);
  /** files by path, with their part of the backup: a hard link may lead to them */
  readonly #files = new Map<string, string>();
  readonly #links: { path: string; target: string; mtime: number }[] = [];
  readonly #owners: Unpacked['owners'] = new Map();
  readonly #between: Unpacked['between'] = new Set();
  #head: Head | undefined;
  #manifest: string | undefined;

  constructor(root: string) {
    this.#root = root;
  }

  get hasBegun(): boolean {
    return this.#head !== undefined;
  }

  /** Makes the links, last: until then no path can lead through one. */
  finish(): Unpacked {
    if (this.#head === undefined) throw notABackup('it does not begin as one');
    if (this.#manifest === undefined) throw truncated();
    const written = new Map(parseManifest(this.#manifest).parts.map((part) => [part.name, part]));
    const { parts } = this.#sums.manifest();
    for (const part of parts) {
      const said = written.get(part.name);
      if (said?.sha256 !== part.sha256) throw damaged(`the checksum of ${part.name} is another`);
      written.delete(part.name);
    }
    const [missing] = written.keys();
    if (missing !== undefined) throw damaged(`${missing} is not in it`);
    for (const { path, target, mtime } of this.#links) {
      symlinkSync(target, join(this.#root, path));
      lutimesSync(join(this.#root, path), mtime, mtime);
    }
    return { head: this.#head, owners: this.#owners, between: this.#between };
  }

  /** Takes the next entry. */
  async take(entry: ReadEntry): Promise<void> {
    if (this.#manifest !== undefined)
      throw unsafeEntry(`something follows the end: ${JSON.stringify(entry.path)}`);
    if (this.#head === undefined) {
      if (entry.path !== headName || entry.type !== 'File') throw notABackup('it begins with something else');
      this.#head = parseHead(await readText(entry));
    } else if (entry.path === manifestName && entry.type === 'File') this.#manifest = await readText(entry);
    else await this.#make(headOf(entry), entry);
  }

  async #make(head: EntryHead, { content }: ReadEntry): Promise<void> {
    const { path, type, mode, mtime, target } = head;
    const place = placeOf(path);
    if (this.#seen.has(path)) throw unsafeEntry(`${JSON.stringify(path)} is in it twice`);
    this.#seen.add(path);
    const sum = this.#sums.enter(place.part, head);
    const usual = usualOwner(place, this.#head?.isolated ?? false);
    const { owner, group } = head;
    if (owner !== usual || group !== usual) this.#owners.set(path, { owner, group });
    this.#makeParents(dirname(path));
    const at = join(this.#root, path);
    switch (type) {
      case 'directory':
        this.#directories.add(path);
        mkdirSync(at);
        // What is in it is still to be written, and later to be removed.
        chmodSync(at, mode | 0o700);
        return;
      case 'link':
        if (!place.isOfApp) throw unsafeEntry(`${JSON.stringify(path)} is a link`);
        this.#links.push({ path, target, mtime });
        return;
      case 'hardLink':
        if (!place.isOfApp || this.#files.get(target) !== place.part)
          throw unsafeEntry(`${JSON.stringify(path)} is a hard link to something that is no file of its app`);
        linkSync(join(this.#root, target), at);
        return;
      case 'file':
        if (place.isOfApp) this.#files.set(path, place.part);
        await writeFile(at, head, summed(content, sum));
    }
  }

  /** Those between the parts of a backup, which it does not name: no app's own can be among them. */
  #makeParents(parent: string): void {
    const missing: string[] = [];
    for (let each = parent; each !== '.' && !this.#directories.has(each); each = dirname(each)) {
      if (this.#seen.has(each))
        throw unsafeEntry(`${JSON.stringify(each)} is no directory, and something is in it`);
      missing.push(each);
    }
    for (const each of missing.reverse()) {
      mkdirSync(join(this.#root, each), { mode: 0o700 });
      this.#directories.add(each);
      this.#between.add(each);
    }
  }
}

async function readText({ size, content }: ReadEntry): Promise<string> {
  if (size > longestText) throw notABackup('what it says of itself is too long');
  const chunks: Buffer[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function* summed(content: AsyncIterable<Buffer>, sum: (chunk: Buffer) => void): AsyncGenerator<Buffer> {
  for await (const chunk of content) {
    sum(chunk);
    yield chunk;
  }
}

async function writeFile(
  at: string,
  { mode, mtime, sparseSize }: EntryHead,
  content: AsyncIterable<Buffer>,
): Promise<void> {
  const file = openSync(at, 'wx', 0o600);
  try {
    if (sparseSize === undefined) for await (const chunk of content) writeAll(file, chunk, null);
    else {
      for await (const { offset, chunk } of piecesIn(content, sparseSize)) writeAll(file, chunk, offset);
      ftruncateSync(file, sparseSize);
    }
    fchmodSync(file, mode);
    futimesSync(file, mtime, mtime);
  } finally {
    closeSync(file);
  }
}

/** @param offset null for the end of the file */
function writeAll(file: number, chunk: Buffer, offset: number | null): void {
  for (let written = 0; written < chunk.length; )
    written += writeSync(file, chunk, written, undefined, offset === null ? null : offset + written);
}

function headOf(entry: ReadEntry): EntryHead {
  const types = { File: 'file', Directory: 'directory', SymbolicLink: 'link', Link: 'hardLink' } as const;
  const type = types[entry.type as keyof typeof types];
  if (type === undefined) throw unsafeEntry(`${JSON.stringify(entry.path)} is of the type ${entry.type}`);
  return {
    path: type === 'directory' ? entry.path.replace(/\/$/, '') : entry.path,
    type,
    mode: entry.mode & 0o777,
    size: type === 'file' ? entry.size : 0,
    mtime: Math.floor(entry.mtime.getTime() / 1000),
    target: type === 'link' || type === 'hardLink' ? entry.linkpath : '',
    owner: entry.uname,
    group: entry.gname,
    ...(entry.sparseSize !== undefined && { sparseSize: entry.sparseSize }),
  };
}

async function assertRoom(directory: string, minFree: number): Promise<void> {
  const free = await freeBytes(directory);
  if (free >= minFree) return;
  throw new AppError('disk_full', `${formatBytes(free)} are left on the disk of ${directory}`, {
    hint: `A restore leaves ${formatBytes(minFree)} alone ("minFreeBytes"): free some space, and start it again.`,
  });
}

function explained(error: unknown, hasBegun: boolean): unknown {
  if (error instanceof NotATar && error.isTruncated) return truncated(error);
  if (error instanceof NotATar)
    return hasBegun ? damaged(error.message, error) : notABackup(error.message, error);
  const code = systemCode(error) ?? '';
  if (code === 'Z_BUF_ERROR') return truncated(error);
  if (code.startsWith('Z_')) return damaged((error as Error).message, error);
  return error;
}

function truncated(cause?: unknown): AppError {
  return new AppError('archive_truncated', 'the backup ends before its end', {
    hint: 'Was it copied whole, and was there room for it? Nothing of it was taken over.',
    cause,
  });
}

function damaged(why: string, cause?: unknown): AppError {
  return new AppError('archive_unreadable', `the backup is damaged: ${why}`, {
    hint: 'Copy it anew, or take an earlier one. Nothing of it was taken over.',
    cause,
  });
}
