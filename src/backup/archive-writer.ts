import { basename, dirname, join } from 'node:path';
import { Header } from 'tar/header';
import { Pax } from 'tar/pax';
import { placeOf } from './place.ts';
import type { Piece } from './sparse.ts';
import { type EntryHead, Sums } from './sums.ts';

const types = { file: 'File', directory: 'Directory', link: 'SymbolicLink', hardLink: 'Link' } as const;
const block = 512;
/** Longest path that fits into a header, in characters. */
const longestInHeader = 255;

/**
 * Writes a tar, entry by entry, with no more of it in memory than a piece of one file. Header by header, and not with what
 * the package has for whole files: that one takes a file which shrinks while it is read for an error, and apps go on
 * writing while we read.
 */
export class ArchiveWriter {
  readonly #put: (chunk: Buffer) => Promise<void>;
  readonly #sums = new Sums();

  /** @param put fulfilled when more can be taken */
  constructor(put: (chunk: Buffer) => Promise<void>) {
    this.#put = put;
  }

  /** @param content of a file, no longer than it was said to be */
  async entry(head: EntryHead, content: AsyncIterable<Buffer> | Iterable<Buffer> = []): Promise<void> {
    await this.#header(head);
    const sum = this.#sums.enter(placeOf(head.path).part, head);
    for await (const chunk of padded(content, head.size)) {
      sum(chunk);
      await this.#put(chunk);
    }
    await this.#pad(head.size);
  }

  /**
   * A file with holes: the list of its pieces, then their content, one after the other. This is format 1.0 of GNU tar for sparse
   * files ("Storing Sparse Files" in its manual), so that tar can read it, too.
   * @param head of the file; its size is that with the holes
   * @param contentOf returns the content of a piece, no longer than the piece
   */
  async sparseEntry(
    head: EntryHead,
    pieces: Piece[],
    contentOf: (piece: Piece) => AsyncIterable<Buffer>,
  ): Promise<void> {
    // The last piece says where the file ends.
    const all = [...pieces, { offset: head.size, length: 0 }];
    const numbers = [all.length, ...all.flatMap(({ offset, length }) => [offset, length])];
    const list = Buffer.from(numbers.map((number) => `${number}\n`).join(''));
    const padding = Buffer.alloc((block - (list.length % block)) % block);
    const size = list.length + padding.length + pieces.reduce((sum, { length }) => sum + length, 0);
    async function* content(): AsyncGenerator<Buffer> {
      yield* [list, padding];
      for (const piece of pieces) yield* padded(contentOf(piece), piece.length);
    }
    await this.entry({ ...head, size, sparseSize: head.size }, content());
  }

  /** A file of the backup itself. */
  async own(path: string, value: unknown): Promise<void> {
    const text = Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
    await this.#header({ ...plain, path, type: 'file', mode: 0o600, size: text.length, mtime: now() });
    await this.#put(text);
    await this.#pad(text.length);
  }

  manifest() {
    return this.#sums.manifest();
  }

  /** The two blocks of zeros that end a tar. */
  async end(): Promise<void> {
    await this.#put(Buffer.alloc(2 * block));
  }

  async #header(head: EntryHead): Promise<void> {
    const { path, type, mode, size, mtime, target, owner, group, sparseSize } = head;
    const named = sparseSize === undefined ? path : join(dirname(path), 'GNUSparseFile.0', basename(path));
    const fields = {
      path: type === 'directory' ? `${path}/` : named,
      type: types[type],
      mode,
      size,
      mtime: new Date(mtime * 1000),
      uid: 0,
      gid: 0,
      uname: owner,
      gname: group,
      ...((type === 'link' || type === 'hardLink') && { linkpath: target }),
    };
    // The package takes quadratic time for a long path, and the extended header has the path anyway.
    const isLong = named.length > longestInHeader;
    const header = new Header(isLong ? { ...fields, path: basename(named) } : fields);
    const bytes = Buffer.alloc(block);
    const isEnough = !header.encode(bytes) && !isLong;
    if (sparseSize !== undefined) await this.#put(new SparsePax(fields, path, sparseSize).encode());
    else if (!isEnough) await this.#put(new Pax(fields).encode());
    await this.#put(bytes);
  }

  async #pad(size: number): Promise<void> {
    const rest = size % block;
    if (rest > 0) await this.#put(Buffer.alloc(block - rest));
  }
}

/** Yields content of exactly `size` bytes: adds zeros if a file has become shorter than its header says, as every tar does. */
async function* padded(
  content: AsyncIterable<Buffer> | Iterable<Buffer>,
  size: number,
): AsyncGenerator<Buffer> {
  let left = size;
  for await (const chunk of content) {
    left -= chunk.length;
    yield chunk;
  }
  for (; left > 0; left -= 65_536) yield Buffer.alloc(Math.min(left, 65_536));
}

/** An extended header with the records of a sparse file. */
class SparsePax extends Pax {
  readonly #records: Record<string, string | number>;

  constructor(fields: ConstructorParameters<typeof Pax>[0], path: string, realSize: number) {
    super(fields);
    this.#records = { major: 1, minor: 0, name: path, realsize: realSize };
  }

  override encodeBody(): string {
    const records = Object.entries(this.#records).map(([key, value]) => record(`GNU.sparse.${key}`, value));
    return super.encodeBody() + records.join('');
  }
}

/** Returns a record of an extended header. The length at its start counts itself. */
function record(key: string, value: string | number): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + 1;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

export const plain = { target: '', owner: 'owner', group: 'owner' };

export function now(): number {
  return Math.floor(Date.now() / 1000);
}
