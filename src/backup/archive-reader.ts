import { Header } from 'tar/header';
import type { EntryTypeName } from 'tar/types';

const block = 512;
/** Limits the size of an extended header, in bytes. */
const longestExtension = 1024 ** 2;

/** Error for bytes that are no tar, or a tar without its end. */
export class NotATar extends Error {
  readonly isTruncated: boolean;

  constructor(message: string, isTruncated: boolean) {
    super(message);
    this.isTruncated = isTruncated;
  }
}

/** An entry of a tar. Its fields are those of the header, or of the extended header before it. */
export interface ReadEntry {
  path: string;
  type: EntryTypeName;
  /** bytes that follow */
  size: number;
  mode: number;
  mtime: Date;
  linkpath: string;
  uname: string;
  gname: string;
  /** size of the file if `content` is that of a sparse file: see archive-writer.ts */
  sparseSize: number | undefined;
  /** content of the entry; to be read whole, or not at all */
  content: AsyncIterable<Buffer>;
}

/**
 * Reads a tar, entry by entry. The parser of the package `tar` misreads extended headers: paths with line ends, and
 * characters of several bytes at the end of a chunk.
 * @throws NotATar
 */
export async function* readArchive(chunks: AsyncIterable<Buffer>): AsyncGenerator<ReadEntry> {
  const source = new Source(chunks);
  let records = new Map<string, string>();
  for (;;) {
    const header = headerOf(await source.read(block));
    if (header.nullBlock) {
      if (!isZero(await source.read(block))) throw new NotATar('there is a block of zeros in it', false);
      return source.drain();
    }
    if (!header.cksumValid) throw new NotATar('checksum failure', false);
    const size = Number(records.get('size') ?? header.size ?? 0);
    if (!Number.isSafeInteger(size) || size < 0) throw new NotATar('an entry has no size', false);
    if (header.type === 'ExtendedHeader') {
      if (size > longestExtension) throw new NotATar('an extended header is too long', false);
      records = recordsOf(await source.read(size));
      await source.skip(padding(size));
      continue;
    }
    const content = source.piece(size);
    yield { ...fieldsOf(header, records), size, content };
    for await (const _ of content);
    await source.skip(padding(size));
    records = new Map();
  }
}

function headerOf(bytes: Buffer): Header {
  try {
    return new Header(bytes);
  } catch (error) {
    throw new NotATar((error as Error).message, false);
  }
}

function fieldsOf(header: Header, records: Map<string, string>): Omit<ReadEntry, 'size' | 'content'> {
  const seconds = records.get('mtime');
  const isSparse = records.get('GNU.sparse.major') === '1';
  return {
    type: header.type,
    path: (isSparse ? records.get('GNU.sparse.name') : undefined) ?? records.get('path') ?? header.path ?? '',
    mode: header.mode ?? 0,
    mtime: seconds === undefined ? (header.mtime ?? new Date(0)) : new Date(Number(seconds) * 1000),
    linkpath: records.get('linkpath') ?? header.linkpath ?? '',
    uname: records.get('uname') ?? header.uname ?? '',
    gname: records.get('gname') ?? header.gname ?? '',
    sparseSize: isSparse ? Number(records.get('GNU.sparse.realsize')) : undefined,
  };
}

/** Reads the records of an extended header: `LENGTH KEY=VALUE` and a line end, where the length counts all bytes of a record. */
function recordsOf(bytes: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(' ', at);
    const end = at + Number(bytes.toString('latin1', at, space));
    const equals = bytes.indexOf('=', space);
    if (!(space > at && equals > space && equals < end && end <= bytes.length && bytes[end - 1] === 0x0a))
      throw new NotATar('an extended header is damaged', false);
    records.set(bytes.toString('utf8', space + 1, equals), bytes.toString('utf8', equals + 1, end - 1));
    at = end;
  }
  return records;
}

function padding(size: number): number {
  return (block - (size % block)) % block;
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

/** Chunks as one run of bytes. */
class Source {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Reads so many bytes, which must be few. */
  async read(size: number): Promise<Buffer> {
    if (size <= this.#rest.length) return this.#take(size);
    const parts: Buffer[] = [];
    for await (const part of this.piece(size)) parts.push(part);
    return Buffer.concat(parts);
  }

  async skip(size: number): Promise<void> {
    for await (const _ of this.piece(size));
  }

  /** Reads all that is left. */
  async drain(): Promise<void> {
    while ((await this.#chunks.next()).done !== true);
  }

  /** Yields so many bytes, in parts. */
  async *piece(size: number): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#chunks.next();
        if (done === true) throw new NotATar('it ends before its end', true);
        this.#rest = value;
      }
      const part = this.#take(Math.min(left, this.#rest.length));
      left -= part.length;
      yield part;
    }
  }

  #take(size: number): Buffer {
    const taken = this.#rest.subarray(0, size);
    this.#rest = this.#rest.subarray(size);
    return taken;
  }
}
