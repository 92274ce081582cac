import {
  chmodSync,
  closeSync,
  fchmodSync,
  futimesSync,
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
import { Parser } from 'tar/parse';
import type { ReadEntry } from 'tar/read-entry';
import { AppError, systemCode } from '../errors/app-error.ts';
import { formatBytes } from '../system/amounts.ts';
import { freeBytes } from '../system/disk-space.ts';
import { type Head, headName, manifestName, notABackup, parseHead, parseManifest } from './format.ts';
import { usualOwner } from './owners.ts';
import { placeOf, unsafeEntry } from './place.ts';
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
  let looked = Number.NEGATIVE_INFINITY;
  try {
    const take = async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        unpacker.write(chunk);
        if (unpacker.bytes - looked < lookEvery) continue;
        looked = unpacker.bytes;
        await assertRoom(directory, minFree);
      }
    };
    await pipeline(input, createGunzip(), take, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw explained(error);
  } finally {
    unpacker.close();
  }
  return unpacker.finish();
}

class Unpacker {
  readonly #root: string;
  readonly #parser = new Parser({ strict: true, maxMetaEntrySize: 1024 ** 2 });
  readonly #sums = new Sums();
  readonly #seen = new Set<string>();
  readonly #directories = new Set<string>(['']);
  readonly #links: { path: string; target: string; mtime: number }[] = [];
  readonly #owners: Unpacked['owners'] = new Map();
  readonly #between: Unpacked['between'] = new Set();
  #head: Head | undefined;
  #manifest: string | undefined;
  #file: number | undefined;
  #ended = false;
  bytes = 0;

  constructor(root: string) {
    this.#root = root;
    // What these throw comes out of the parser's `write`.
    this.#parser.on('entry', (entry) => this.#read(entry));
    this.#parser.on('ignoredEntry', (entry) => refuse(entry));
    this.#parser.on('eof', () => {
      this.#ended = true;
    });
    this.#parser.on('error', (error) => {
      throw this.#head === undefined ? notABackup(error.message, error) : damaged(error.message, error);
    });
  }

  write(chunk: Buffer): void {
    this.bytes += chunk.length;
    if (!this.#ended) this.#parser.write(chunk);
  }

  /** Makes the links, last: until then no path can lead through one. */
  finish(): Unpacked {
    if (this.#head === undefined) throw notABackup('it does not begin as one');
    if (!this.#ended || this.#manifest === undefined) throw truncated();
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

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #read(entry: ReadEntry): void {
    if (this.#manifest !== undefined)
      throw unsafeEntry(`something follows the end: ${JSON.stringify(entry.path)}`);
    if (this.#head === undefined) {
      if (entry.path !== headName || entry.type !== 'File') throw notABackup('it begins with something else');
      this.#readText(entry, (text) => {
        this.#head = parseHead(text);
      });
    } else if (entry.path === manifestName && entry.type === 'File') {
      this.#readText(entry, (text) => {
        this.#manifest = text;
      });
    } else this.#make(headOf(entry), entry);
  }

  #readText(entry: ReadEntry, take: (text: string) => void): void {
    if (entry.size > longestText) throw notABackup('what it says of itself is too long');
    const chunks: Buffer[] = [];
    entry.on('data', (chunk: Buffer) => void chunks.push(chunk));
    entry.on('end', () => take(Buffer.concat(chunks).toString()));
  }

  #make(head: EntryHead, entry: ReadEntry): void {
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
    if (type === 'directory') {
      this.#directories.add(path);
      mkdirSync(at);
      // What is in it is still to be written, and later to be removed.
      chmodSync(at, mode | 0o700);
    } else if (type === 'link') {
      if (!place.isOfApp) throw unsafeEntry(`${JSON.stringify(path)} is a link`);
      this.#links.push({ path, target, mtime });
    } else {
      this.#file = openSync(at, 'wx', 0o600);
      entry.on('data', (chunk: Buffer) => {
        sum(chunk);
        this.#write(chunk);
      });
      entry.on('end', () => this.#endFile(mode, mtime));
      return;
    }
    entry.resume();
  }

  /** Those between the parts of a backup, which it does not name: no app's own can be among them. */
  #makeParents(parent: string): void {
    if (parent === '.' || this.#directories.has(parent)) return;
    if (this.#seen.has(parent))
      throw unsafeEntry(`${JSON.stringify(parent)} is no directory, and something is in it`);
    this.#makeParents(dirname(parent));
    mkdirSync(join(this.#root, parent), { mode: 0o700 });
    this.#directories.add(parent);
    this.#between.add(parent);
  }

  #write(chunk: Buffer): void {
    if (this.#file === undefined) throw new Error('no file is open');
    for (let written = 0; written < chunk.length; ) written += writeSync(this.#file, chunk, written);
  }

  #endFile(mode: number, mtime: number): void {
    if (this.#file === undefined) throw new Error('no file is open');
    fchmodSync(this.#file, mode);
    futimesSync(this.#file, mtime, mtime);
    this.close();
  }
}

function headOf(entry: ReadEntry): EntryHead {
  const types = { File: 'file', Directory: 'directory', SymbolicLink: 'link' } as const;
  const type = types[entry.type as keyof typeof types] ?? refuse(entry);
  const { uname = '', gname = '' } = entry;
  return {
    path: type === 'directory' ? entry.path.replace(/\/$/, '') : entry.path,
    type,
    mode: (entry.mode ?? 0) & 0o777,
    size: type === 'file' ? entry.size : 0,
    mtime: Math.floor((entry.mtime?.getTime() ?? 0) / 1000),
    target: type === 'link' ? (entry.linkpath ?? '') : '',
    owner: uname,
    group: gname,
  };
}

function refuse(entry: ReadEntry): never {
  throw unsafeEntry(`${JSON.stringify(entry.path)} is of the type ${entry.type}`);
}

async function assertRoom(directory: string, minFree: number): Promise<void> {
  const free = await freeBytes(directory);
  if (free >= minFree) return;
  throw new AppError('disk_full', `${formatBytes(free)} are left on the disk of ${directory}`, {
    hint: `A restore leaves ${formatBytes(minFree)} alone ("minFreeBytes"): free some space, and start it again.`,
  });
}

function explained(error: unknown): unknown {
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
