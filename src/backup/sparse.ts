import { once } from 'node:events';
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { spawn } from '../system/process/run.ts';
import { ByteSource, NotATar, type Piece, readArchive, readPieces } from './archive-reader.ts';

/** Size of holes that are copied as zeros, in bytes: starting a program would take longer. */
const fewHoles = 256 * 1024;
/** Size of a hole that is copied as zeros between two pieces, in bytes, to have fewer pieces. */
const smallHole = 64 * 1024;
/** Limit of the pieces that tar lists, for each piece that a backup may have. */
const listedPerPiece = 4;
/** Limit of the time in which tar finds the holes of a file, in ms. */
const deadline = 60_000;

type FileSize = Pick<Stats, 'size' | 'blocks'>;

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
 * Finds the data of a file. Node.js cannot ask the system for holes, but GNU tar can: it gets the open file as its standard
 * input, writes an archive, and is killed after its list of pieces.
 * @param limits limit of pieces, and of the time in ms
 * @returns the pieces; if there is no such list, the reason, as a clause
 */
export async function findPieces(
  handle: FileHandle,
  stats: Stats,
  limits: { pieces: number; time: number },
): Promise<Piece[] | string> {
  const program = ['--create', '--file=-', '--format=posix', '--sparse', '--sparse-version=1.0'];
  const args = [...program, '--dereference', '--directory=/proc/self/fd', '0'];
  // Limits the memory of tar, which grows with the list of pieces.
  const child = spawn('/bin/sh', ['-c', 'ulimit -v 1048576; exec tar "$@"', 'tar', ...args], {
    stdio: [handle.fd, 'pipe', 'ignore'],
  });
  const output = child.stdout as Readable;
  const ended = once(child, 'close').catch(() => undefined);
  const timer = setTimeout(() => child.kill('SIGKILL'), Math.min(limits.time, deadline));
  try {
    const { value: entry } = await readArchive(output).next();
    if (entry === undefined) return 'its holes cannot be found';
    const listed =
      entry.sparseSize === undefined
        ? [{ offset: 0, length: stats.size }]
        : await readPieces(new ByteSource(entry.content), listedPerPiece * limits.pieces);
    const pieces = listed && mergePieces(listed);
    if (pieces === undefined || pieces.length > limits.pieces)
      return `it has more than ${limits.pieces} pieces between holes`;
    const size = pieces.reduce((sum, { length }) => sum + length, 0);
    if (!isSmallEnough({ size, blocks: stats.blocks }))
      return 'its holes cannot be distinguished from its data';
    // The file may have grown before tar opened it.
    const inFile = pieces.map(({ offset, length }) => ({
      offset,
      length: Math.min(length, stats.size - offset),
    }));
    return inFile.filter(({ length }) => length > 0);
  } catch (error) {
    if (error instanceof NotATar) return 'its holes cannot be found';
    throw error;
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    output.destroy();
    await ended;
  }
}

/** Joins pieces with only a small hole between them. */
function mergePieces(pieces: readonly Piece[]): Piece[] {
  const merged: Piece[] = [];
  for (const { offset, length } of pieces) {
    const last = merged.at(-1);
    if (last !== undefined && offset - (last.offset + last.length) <= smallHole)
      last.length = offset + length - last.offset;
    else if (length > 0) merged.push({ offset, length });
  }
  return merged;
}
