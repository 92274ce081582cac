import { Header } from 'tar/header';
import type { EntryHead } from './format.ts';

export const block = 512;
/** Size limit of an extended header, in bytes. */
const maxExtensionBytes = 1024 ** 2;
/** Limit of the pieces of one file: more than a backup writes. */
const maxPieces = 1_000_000;

/** Error for bytes that are not a tar archive, or not a complete one. */
export class NotATar extends Error {
  readonly isTruncated: boolean;

  constructor(message: string, isTruncated = false) {
    super(message);
    this.isTruncated = isTruncated;
  }
}

/** Entry of a tar archive. Its fields are those of the header, or of the extended header before it. */
export interface ArchiveEntry extends Omit<EntryHead, 'type'> {
  /** one of the types of a backup, or the name of another type */
  type: string;
  /** to be read completely, or not at all */
  content: AsyncIterable<Buffer>;
}

const types: Record<string, EntryHead['type']> = {
  File: 'file',
  Directory: 'directory',
  SymbolicLink: 'link',
  Link: 'hardLink',
};

/** Part of a file that has data. The parts between are holes: they read as zeros, and take no space on the disk. */
export interface Piece {
  offset: number;
  length: number;
}

/**
 * Reads a tar archive, entry by entry. The parser of the package `tar` misreads extended headers: paths with line ends, and
 * multi-byte characters at the end of a chunk.
 * @throws NotATar
 */
export async function* readArchive(chunks: AsyncIterable<Buffer>): AsyncGenerator<ArchiveEntry> {
  const source = new ByteSource(chunks);
  let records = new Map<string, string>();
  for (;;) {
    const header = headerOf(await source.read(block));
    if (header.nullBlock) {
      if ((await source.read(block)).some((byte) => byte !== 0)) throw new NotATar('it has a block of zeros');
      return source.drain();
    }
    if (!header.cksumValid) throw new NotATar('checksum failure');
    const size = Number(records.get('size') ?? header.size ?? 0);
    if (!Number.isSafeInteger(size) || size < 0) throw new NotATar('an entry has no size');
    if (header.type === 'ExtendedHeader') {
      if (size > maxExtensionBytes) throw new NotATar('an extended header is too long');
      records = recordsOf(await source.read(size));
    } else {
      const content = source.piece(size);
      yield { ...headOf(header, records, size), content };
      for await (const _ of content);
      records = new Map();
    }
    await source.read(padding(size));
  }
}

function headerOf(bytes: Buffer): Header {
  try {
    return new Header(bytes);
  } catch (error) {
    throw new NotATar((error as Error).message);
  }
}

function headOf(header: Header, records: Map<string, string>, size: number): Omit<ArchiveEntry, 'content'> {
  const text = (key: 'path' | 'linkpath' | 'uname' | 'gname') => records.get(key) ?? header[key] ?? '';
  const type = types[header.type] ?? header.type;
  const isSparse = records.get('GNU.sparse.major') === '1';
  const path = (isSparse ? records.get('GNU.sparse.name') : undefined) ?? text('path');
  return {
    path: type === 'directory' ? path.replace(/\/$/, '') : path,
    type,
    mode: (header.mode ?? 0) & 0o777,
    size: type === 'file' ? size : 0,
    mtime: Math.floor(Number(records.get('mtime') ?? Number(header.mtime ?? 0) / 1000)),
    target: type === 'link' || type === 'hardLink' ? text('linkpath') : '',
    owner: text('uname'),
    group: text('gname'),
    ...(isSparse && { sparseSize: Number(records.get('GNU.sparse.realsize')) }),
  };
}

/** Reads the records of an extended header: `LENGTH KEY=VALUE` and a line end. The length counts all bytes of a record. */
function recordsOf(bytes: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(' ', at);
    const end = at + Number(bytes.toString('latin1', at, space));
    const equals = bytes.indexOf('=', space);
    if (!(space > at && equals > space && equals < end && end <= bytes.length && bytes[end - 1] === 0x0a))
      throw new NotATar('an extended header is damaged');
    records.set(bytes.toString('utf8', space + 1, equals), bytes.toString('utf8', equals + 1, end - 1));
    at = end;
  }
  return records;
}

/** Returns the number of bytes that complete the last block of a content. */
export function padding(size: number): number {
  return (block - (size % block)) % block;
}

/**
 * Reads the content of a file with holes, in format 1.0 of GNU tar ("Storing Sparse Files" in its manual).
 * @param size of the content
 * @param sparseSize of the file
 * @throws NotATar if pieces overlap, are not in the file, or do not match the size of the content
 */
export async function* readSparse(
  content: AsyncIterable<Buffer>,
  size: number,
  sparseSize: number,
): AsyncGenerator<{ offset: number; chunk: Buffer }> {
  const source = new ByteSource(content);
  const pieces = await readPieces(source);
  const bytes = pieces.reduce((sum, { length }) => sum + length, source.position);
  if (bytes !== size || !Number.isSafeInteger(sparseSize)) throw damagedPieces();
  let end = 0;
  for (const { offset, length } of pieces) {
    if (offset < end || offset + length > sparseSize) throw damagedPieces();
    end = offset;
    for await (const chunk of source.piece(length)) {
      yield { offset: end, chunk };
      end += chunk.length;
    }
  }
}

/**
 * Reads the list of pieces at the start of a content: the number of pieces, and two numbers for each, one a line, up to the
 * end of a block.
 */
export async function readPieces(source: ByteSource): Promise<Piece[]> {
  const numbers: number[] = [];
  let rest = '';
  for (let count = Number.POSITIVE_INFINITY; numbers.length < 1 + 2 * count; count = numbers[0] ?? 0) {
    const lines = (rest + (await source.read(block)).toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!/^\d{1,16}$/.test(line)) throw damagedPieces();
      numbers.push(Number(line));
    }
    if (numbers.length === 0 || rest.length > block || (numbers[0] ?? 0) > maxPieces) throw damagedPieces();
  }
  const [count = 0, ...pairs] = numbers;
  if (pairs.length !== 2 * count) throw damagedPieces();
  return Array.from({ length: count }, (_, index) => ({
    offset: pairs[2 * index] ?? 0,
    length: pairs[2 * index + 1] ?? 0,
  }));
}

function damagedPieces(): NotATar {
  return new NotATar('a file with holes has no valid list of its pieces');
}

/** Reads chunks as one sequence of bytes. */
export class ByteSource {
  /** number of bytes that have been read */
  position = 0;
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Reads a small number of bytes. @throws NotATar if there are fewer */
  async read(size: number): Promise<Buffer> {
    const parts = await Array.fromAsync(this.piece(size));
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  }

  /** Reads all remaining bytes. */
  async drain(): Promise<void> {
    while ((await this.#chunks.next()).done !== true);
  }

  /** Yields a number of bytes, in parts. @throws NotATar if there are fewer */
  async *piece(size: number): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#chunks.next();
        if (done === true) throw new NotATar('it is incomplete', true);
        this.#rest = value;
      }
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      this.position += part.length;
      yield part;
    }
  }
}
