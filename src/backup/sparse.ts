import { once } from 'node:events';
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { spawn } from '../system/process/run.ts';
import { ByteSource, NotATar, type Piece, padding, readArchive, readPieces } from './archive-reader.ts';

/** Size of holes that are copied as zeros, in bytes: starting a program would take longer. */
const fewHoles = 256 * 1024;
/** Limit of the time in which tar finds the holes of a file, in ms. */
const deadline = 60_000;

type FileSize = Pick<Stats, 'size' | 'blocks'>;

/** Content of a file for the archive. */
export interface StoredContent {
  /** of the content, in bytes */
  size: number;
  /** size of the file, if the content is a list of its pieces and the pieces */
  sparseSize?: number | undefined;
  chunks: AsyncIterable<Buffer>;
  /** program that yields the content, to be ended */
  program?: AsyncDisposable;
}

/** Returns true if a file has holes that must not be read. */
export function isSparse({ size, blocks }: FileSize): boolean {
  return size - 512 * blocks > fewHoles;
}

/**
 * Returns true if so many bytes of a file fit into a backup. A file system that compresses has less on the disk than the
 * file has data.
 */
export function isSmallEnough({ size, blocks }: FileSize): boolean {
  return size <= 64 * 512 * blocks + fewHoles;
}

/**
 * Reads a file without its holes. Node.js cannot ask the system for holes, but GNU tar can: it gets the open file as its
 * standard input, and writes an archive in the format of the backup.
 * @param limits limit of pieces, and of the time until the holes are found, in ms
 * @returns the content; if tar does not find the holes, the reason, as a clause
 */
export async function readWithoutHoles(
  handle: FileHandle,
  { blocks }: Stats,
  limits: { pieces: number; time: number },
): Promise<StoredContent | string> {
  const program = ['--create', '--file=-', '--format=posix', '--sparse', '--sparse-version=1.0'];
  const args = [...program, '--dereference', '--directory=/proc/self/fd', '0'];
  // Limits the memory of tar, which grows with the list of pieces.
  const child = spawn('/bin/sh', ['-c', 'ulimit -v 1048576; exec tar "$@"', 'tar', ...args], {
    stdio: [handle.fd, 'pipe', 'ignore'],
  });
  const output = child.stdout as Readable;
  const ended = once(child, 'close').catch(() => []);
  // Without a free descriptor there are no streams, and a signal would go to the process group of this process.
  if (child.pid === undefined) return 'no program can be started to find its holes';
  await using stack = new AsyncDisposableStack();
  stack.defer(async () => {
    child.kill('SIGKILL');
    output.destroy();
    await ended;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), Math.min(limits.time, deadline));
  try {
    const archive = readArchive(output);
    const { value: entry } = await archive.next();
    if (entry === undefined) return 'its holes cannot be found';
    if (!isSmallEnough({ size: entry.size, blocks }))
      return 'its holes cannot be distinguished from its data';
    const source = new ByteSource(entry.content);
    const listed = entry.sparseSize === undefined ? undefined : await readPieces(source);
    if (listed !== undefined && listed.length > limits.pieces)
      return `it has more than ${limits.pieces} pieces between holes`;
    const left = entry.size - source.position;
    const sparse = listed && describePieces(listed, left, entry.sparseSize ?? 0);
    async function* chunks() {
      if (sparse !== undefined) yield sparse.list;
      yield* source.piece(left);
      // Tar replaces data that it cannot read by zeros, and then exits with 2.
      await archive.next();
      const [code] = await ended;
      if (code === 2) throw new NotATar('tar cannot read all data of a file');
    }
    const size = left + (sparse?.list.length ?? 0);
    return { size, sparseSize: sparse?.size, chunks: chunks(), program: stack.move() };
  } catch (error) {
    if (error instanceof NotATar) return 'its holes cannot be found';
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Returns the list of the pieces of a file, and the size of the file. An app may have changed the file while tar searched: then
 * the list of tar has pieces behind the end of the file, which grows, or has no sense. A restore would refuse the whole backup.
 * @param bytes of all pieces
 * @throws NotATar if pieces overlap, or do not have so many bytes
 */
function describePieces(listed: Piece[], bytes: number, listedSize: number): { list: Buffer; size: number } {
  const pieces = listed.filter(({ length }) => length > 0);
  let end = 0;
  let left = bytes;
  for (const { offset, length } of pieces) {
    if (offset < end) throw new NotATar('pieces of a file overlap');
    end = offset + length;
    left -= length;
  }
  const size = Math.max(listedSize, end);
  if (left !== 0 || !Number.isSafeInteger(size)) throw new NotATar('pieces of a file have another size');
  // The last piece marks the end of the file.
  const all = [...pieces, { offset: size, length: 0 }];
  const text = `${all.length}\n${all.map(({ offset, length }) => `${offset}\n${length}\n`).join('')}`;
  return { list: Buffer.concat([Buffer.from(text), Buffer.alloc(padding(text.length))]), size };
}
