import { once } from 'node:events';
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { spawn } from '../system/process/run.ts';
import { ByteSource, block, NotATar, readArchive } from './archive-reader.ts';

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
    const { size, sparseSize } = entry;
    if (!isSmallEnough({ size, blocks })) return 'its holes cannot be distinguished from its data';
    const source = new ByteSource(entry.content);
    const start = await source.read(Math.min(block, size));
    // The list of pieces begins with their number.
    if (sparseSize !== undefined && Number.parseInt(start.toString('latin1'), 10) > limits.pieces)
      return `it has more than ${limits.pieces} pieces between holes`;
    async function* chunks() {
      yield start;
      yield* source.piece(size - start.length);
      // Tar replaces data that it cannot read by zeros, and then exits with 2.
      await archive.next();
      const [code] = await ended;
      if (code === 2) throw new NotATar('tar cannot read all data of a file');
    }
    return { size, sparseSize, chunks: chunks(), program: stack.move() };
  } catch (error) {
    if (error instanceof NotATar) return 'its holes cannot be found';
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
