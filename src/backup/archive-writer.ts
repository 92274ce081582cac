import { basename, dirname, join } from 'node:path';
import { Header } from 'tar/header';
import { block, padding } from './archive-reader.ts';
import { Checksums, type EntryHead, manifestName, now } from './format.ts';
import { locate } from './layout.ts';

const types = { file: 'File', directory: 'Directory', link: 'SymbolicLink', hardLink: 'Link' } as const;
/** Longest path that fits into a header, in characters. */
const maxHeaderLength = 255;

/** Fields of the entries that Sluice itself writes. */
export const ownEntry = { type: 'file', mode: 0o600, target: '', owner: 'owner', group: 'owner' } as const;

type Content = AsyncIterable<Buffer> | Iterable<Buffer>;

/**
 * Writes a tar archive, entry by entry, with one piece of a file in memory. The package `tar` treats a file that gets shorter
 * while it is read as an error, so only its headers are used: apps continue to write during a backup.
 */
export class ArchiveWriter {
  readonly #put: (chunk: Buffer) => Promise<void>;
  readonly #checksums = new Checksums();

  /** @param put fulfilled when it accepts more */
  constructor(put: (chunk: Buffer) => Promise<void>) {
    this.#put = put;
  }

  /** @param content at most as long as the head says; zeros complete it. In format 1.0 of GNU tar for a file with holes */
  async entry(head: EntryHead, content: Content = []): Promise<void> {
    await this.#write(head, content, this.#checksums.add(locate(head.path).part, head));
  }

  /** Writes a file about the backup itself, which no checksum covers. */
  async metadata(path: string, value: unknown): Promise<void> {
    const text = Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
    await this.#write({ ...ownEntry, path, size: text.length, mtime: now() }, [text]);
  }

  /** Writes the checksums, and the two blocks of zeros that end an archive. */
  async end(): Promise<void> {
    await this.metadata(manifestName, this.#checksums.manifest());
    await this.#put(Buffer.alloc(2 * block));
  }

  async #write(head: EntryHead, content: Content, checksum?: (chunk: Buffer) => void): Promise<void> {
    await this.#put(headerOf(head));
    let left = head.size;
    const put = async (chunk: Buffer) => {
      left -= chunk.length;
      checksum?.(chunk);
      await this.#put(chunk);
    };
    for await (const chunk of content) await put(chunk);
    // Zeros replace the missing end of a file that has become shorter.
    while (left > 0) await put(Buffer.alloc(Math.min(left, 65_536)));
    if (padding(head.size) > 0) await this.#put(Buffer.alloc(padding(head.size)));
  }
}

/** Returns the header of an entry, with an extended header before it if needed. */
function headerOf({ path, type, mode, size, mtime, target, owner, group, sparseSize }: EntryHead): Buffer {
  const name = sparseSize === undefined ? path : join(dirname(path), 'GNUSparseFile.0', basename(path));
  const fields = {
    path: type === 'directory' ? `${path}/` : name,
    size,
    uname: owner,
    gname: group,
    ...((type === 'link' || type === 'hardLink') && { linkpath: target }),
  };
  const common = { type: types[type], mode, mtime: new Date(mtime * 1000), uid: 0, gid: 0 };
  // The package takes quadratic time for a long path, and the extended header has the path anyway.
  const isLong = name.length > maxHeaderLength;
  const header = Buffer.alloc(block);
  const isIncomplete = new Header({ ...fields, ...common, ...(isLong && { path: basename(name) }) }).encode(
    header,
  );
  const sparse = sparseSize !== undefined && {
    'GNU.sparse.major': 1,
    'GNU.sparse.minor': 0,
    'GNU.sparse.name': path,
    'GNU.sparse.realsize': sparseSize,
  };
  if (!isIncomplete && !isLong && sparse === false) return header;
  return Buffer.concat([extendedHeader({ ...fields, mtime, ...sparse }), header]);
}

function extendedHeader(records: Record<string, string | number>): Buffer {
  const body = Buffer.from(Object.entries(records).map(recordOf).join(''));
  const header = Buffer.alloc(block);
  const fields = { path: 'PaxHeader', mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) };
  new Header({ ...fields, type: 'ExtendedHeader', size: body.length }).encode(header);
  return Buffer.concat([header, body, Buffer.alloc(padding(body.length))]);
}

/** Returns a record of an extended header. Its first number is its length, including that number. */
function recordOf([key, value]: [key: string, value: string | number]): string {
  const rest = ` ${key}=${value}\n`;
  const size = Buffer.byteLength(rest);
  const digits = String(size + String(size).length).length;
  return `${size + digits}${rest}`;
}
