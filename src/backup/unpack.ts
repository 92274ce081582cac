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
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { AppError, systemCode } from '../errors/app-error.ts';
import { freeBytes } from '../system/fs/files.ts';
import { formatBytes } from '../system/text/format.ts';
import { type ArchiveEntry, NotATar, readArchive, readSparse } from './archive-reader.ts';
import {
  Checksums,
  type Head,
  headName,
  manifestName,
  notABackup,
  parseHead,
  parseManifest,
} from './format.ts';
import { type Location, locate, partsOf, unsafeEntry } from './layout.ts';

/** Result of unpacking a backup. */
export interface Unpacked {
  head: Head;
  /** all entries by path, and the directories that have them */
  entries: Map<string, UnpackedEntry>;
}

type UnpackedEntry = Pick<ArchiveEntry, 'type' | 'owner' | 'group'> & { location: Location };

/** Directory that is not an entry of the backup, such as `apps`. */
const between: UnpackedEntry = {
  type: 'directory',
  owner: 'owner',
  group: 'owner',
  location: { part: '', id: null, isOfApp: false },
};

/** Size limit of the head and the manifest, in bytes: enough for 100,000 environments. */
const maxTextLength = 16 * 1024 ** 2;
/** Bytes after which the free space is checked again. */
const checkEvery = 64 * 1024 ** 2;

/**
 * Unpacks a backup into an empty directory that no other user can enter, and verifies it. Trusts nothing in the archive: no
 * entry gets out of the directory, through a link, or over another entry.
 * @param options `minFree`: bytes that must stay free on the disk
 * @throws AppError `archive_unreadable`, `archive_truncated`, `archive_unsafe`, `disk_full`
 */
export async function unpack(
  input: Readable,
  directory: string,
  { minFree, signal }: { minFree: number; signal: AbortSignal },
): Promise<Unpacked> {
  const unpacker = new BackupUnpacker(directory);
  try {
    const consume = async (chunks: AsyncIterable<Buffer>) => {
      for await (const entry of readArchive(withRoom(chunks, directory, minFree))) await unpacker.add(entry);
    };
    await pipeline(input, createGunzip(), consume, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw explain(error, unpacker.hasBegun);
  }
  return unpacker.finish();
}

/** Passes on chunks, and checks the free space from time to time. */
async function* withRoom(
  chunks: AsyncIterable<Buffer>,
  directory: string,
  minFree: number,
): AsyncGenerator<Buffer> {
  let untilCheck = 0;
  for await (const chunk of chunks) {
    untilCheck -= chunk.length;
    if (untilCheck < 0) {
      untilCheck = checkEvery;
      const free = await freeBytes(directory);
      if (free < minFree)
        throw new AppError('disk_full', `only ${formatBytes(free)} are free on the disk of ${directory}`, {
          hint: `A restore leaves ${formatBytes(minFree)} free ("minFreeBytes"). Free some space, then start it again.`,
        });
    }
    yield chunk;
  }
}

class BackupUnpacker {
  readonly #root: string;
  readonly #checksums = new Checksums();
  readonly #entries: Unpacked['entries'] = new Map();
  readonly #links: ArchiveEntry[] = [];
  /** parts that the head lists */
  readonly #parts = new Set(['state']);
  #head: Head | undefined;
  #manifest: string | undefined;

  constructor(root: string) {
    this.#root = root;
  }

  get hasBegun(): boolean {
    return this.#head !== undefined;
  }

  /** Verifies the checksums, and creates the links. Until then, no path can lead through one. */
  finish(): Unpacked {
    if (this.#head === undefined) throw notABackup('the file is empty');
    if (this.#manifest === undefined) throw truncated();
    const expected = new Map(parseManifest(this.#manifest).parts.map(({ name, sha256 }) => [name, sha256]));
    for (const { name, sha256 } of this.#checksums.manifest().parts) {
      if (expected.get(name) !== sha256) throw damaged(`the checksum of ${name} does not match`);
      expected.delete(name);
    }
    const [missing] = expected.keys();
    if (missing !== undefined) throw damaged(`${missing} is missing`);
    for (const { path, target, mtime } of this.#links) {
      symlinkSync(target, join(this.#root, path));
      lutimesSync(join(this.#root, path), mtime, mtime);
    }
    return { head: this.#head, entries: this.#entries };
  }

  async add(entry: ArchiveEntry): Promise<void> {
    const { path, type } = entry;
    if (this.#manifest !== undefined) throw unsafeEntry(`an entry follows the end: ${JSON.stringify(path)}`);
    if (this.#head === undefined) {
      if (path !== headName || type !== 'file') throw notABackup('it begins with another file');
      this.#head = parseHead(await readText(entry));
      for (const id of this.#head.environments) for (const part of partsOf(id)) this.#parts.add(part);
    } else if (path === manifestName && type === 'file') this.#manifest = await readText(entry);
    else await this.#create(entry);
  }

  async #create(entry: ArchiveEntry): Promise<void> {
    const { path, type, mode, target, owner, group, content } = entry;
    const name = JSON.stringify(path);
    const location = locate(path);
    if (!this.#parts.has(location.part))
      throw unsafeEntry(`the backup has an app that its head does not list: ${location.part}`);
    if (this.#entries.has(path)) throw unsafeEntry(`the backup has ${name} twice`);
    const checksum = this.#checksums.add(location.part, entry);
    this.#createParents(dirname(path));
    this.#entries.set(path, { type, owner, group, location });
    const at = join(this.#root, path);
    switch (type) {
      case 'directory':
        mkdirSync(at);
        // This process must be able to write into it, and to remove it.
        chmodSync(at, mode | 0o700);
        return;
      case 'link':
        if (!location.isOfApp) throw unsafeEntry(`${name} is a link`);
        this.#links.push(entry);
        return;
      case 'hardLink':
        if (!location.isOfApp || !this.#isFileOfApp(target, location))
          throw unsafeEntry(`${name} is a hard link to something else than a file of its app`);
        linkSync(join(this.#root, target), at);
        return;
      case 'file':
        await writeFile(at, entry, withChecksum(content, checksum));
        return;
      default:
        throw unsafeEntry(`${name} is of the type ${type}`);
    }
  }

  #isFileOfApp(path: string, { part }: Location): boolean {
    const entry = this.#entries.get(path);
    return entry?.type === 'file' && entry.location.isOfApp && entry.location.part === part;
  }

  /** Creates parent directories that are not entries, such as `apps`. No directory of an app is among them. */
  #createParents(path: string): void {
    const entry = this.#entries.get(path);
    if (path === '.' || entry?.type === 'directory') return;
    if (entry !== undefined) throw unsafeEntry(`${JSON.stringify(path)} has entries, but is not a directory`);
    this.#createParents(dirname(path));
    mkdirSync(join(this.#root, path), { mode: 0o700 });
    this.#entries.set(path, between);
  }
}

async function readText({ size, content }: ArchiveEntry): Promise<string> {
  if (size > maxTextLength) throw notABackup(`its description has ${formatBytes(size)}`);
  return (await buffer(content)).toString();
}

async function* withChecksum(
  content: AsyncIterable<Buffer>,
  checksum: (chunk: Buffer) => void,
): AsyncGenerator<Buffer> {
  for await (const chunk of content) {
    checksum(chunk);
    yield chunk;
  }
}

async function writeFile(at: string, head: ArchiveEntry, content: AsyncIterable<Buffer>): Promise<void> {
  const { mode, mtime, size, sparseSize } = head;
  const file = openSync(at, 'wx', 0o600);
  try {
    if (sparseSize === undefined) for await (const chunk of content) writeAll(file, chunk, null);
    else {
      for await (const { offset, chunk } of readSparse(content, size, sparseSize))
        writeAll(file, chunk, offset);
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

function explain(error: unknown, hasBegun: boolean): unknown {
  const code = systemCode(error) ?? '';
  if (code === 'Z_BUF_ERROR' || (error instanceof NotATar && error.isTruncated)) return truncated(error);
  if (!(error instanceof NotATar) && !code.startsWith('Z_')) return error;
  const { message } = error as Error;
  return error instanceof NotATar && !hasBegun ? notABackup(message, error) : damaged(message, error);
}

function truncated(cause?: unknown): AppError {
  return new AppError('archive_truncated', 'the backup is incomplete', {
    hint: 'Check that it was copied completely, and that the disk had room for it. Nothing was restored.',
    cause,
  });
}

function damaged(why: string, cause?: unknown): AppError {
  return new AppError('archive_unreadable', `the backup is damaged: ${why}`, {
    hint: 'Copy it again, or use an earlier one. Nothing was restored.',
    cause,
  });
}
