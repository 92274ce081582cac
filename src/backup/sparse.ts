import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { spawn } from '../system/process/run.ts';
import { LineSplitter } from '../system/text/lines.ts';

/** A part of a file that has data. Between the parts there are holes: they read as zeros, and take no space on the disk. */
export interface Piece {
  offset: number;
  length: number;
}

/** Bytes of holes that are read as zeros, because starting a program would take longer. */
const fewHoles = 256 * 1024;
/** Holes that are read as zeros, to have fewer pieces; in bytes. */
const smallHole = 64 * 1024;
/** Longest time for tar to find the holes of a file, in ms. */
const foundWithin = 60_000;

/**
 * Bytes that a file of so many bytes on the disk may take in a backup at most. A file system that compresses has less on the
 * disk than the file has data.
 */
function mostData(allocated: number): number {
  return 64 * allocated + fewHoles;
}

/** Tells if a file has holes that must not be read. */
export function isSparse({ size, blocks }: Pick<Stats, 'size' | 'blocks'>): boolean {
  return size - 512 * blocks > fewHoles;
}

/** Tells if a sparse file can be stored in full: its data and its holes together are no more than a file may take. */
export function isSmallInFull({ size, blocks }: Pick<Stats, 'size' | 'blocks'>): boolean {
  return size <= mostData(512 * blocks);
}

/**
 * Finds the data in a file. Node.js cannot ask the system for holes, so GNU tar does: it gets the open file as its standard
 * input, writes an archive, and is ended when the list of pieces has been read.
 * @param limits most pieces, and time in ms
 * @returns the pieces with data; if they cannot be found, why, as a clause
 */
export async function piecesOf(
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
  const timer = setTimeout(() => child.kill('SIGKILL'), Math.min(limits.time, foundWithin));
  const ended = new Promise<void>((resolve) =>
    child.once('error', () => resolve()).once('close', () => resolve()),
  );
  try {
    const pieces = await readPieces(child.stdout as Readable, stats.size, limits.pieces);
    if (pieces === undefined) return 'its holes cannot be found';
    if (pieces.length > limits.pieces) return `it has more than ${limits.pieces} pieces between holes`;
    const data = pieces.reduce((sum, { length }) => sum + length, 0);
    return data <= mostData(512 * stats.blocks) ? pieces : 'its holes cannot be told from its data';
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    child.stdout?.destroy();
    await ended;
  }
}

/**
 * Reads the list of pieces at the start of an archive, until there are more than `most`.
 * @returns undefined if the archive does not begin with such a list
 */
async function readPieces(archive: Readable, size: number, most: number): Promise<Piece[] | undefined> {
  const pieces: Piece[] = [];
  let header = Buffer.alloc(0);
  let splitter: LineSplitter | undefined;
  /** numbers of the list that are still to come; undefined before the first, which says how many pieces there are */
  let left: number | undefined;
  let offset: number | undefined;
  for await (const chunk of archive as AsyncIterable<Buffer>) {
    let text = '';
    if (splitter === undefined) {
      header = Buffer.concat([header, chunk]);
      const body = bodyOf(header);
      if (body === 'unknown') return undefined;
      if (body === 'whole') return [{ offset: 0, length: size }];
      if (body === undefined) continue;
      splitter = new LineSplitter();
      text = body.toString('latin1');
    } else text = chunk.toString('latin1');
    for (const line of splitter.push(text)) {
      const number = Number(line);
      if (!Number.isSafeInteger(number) || line === '') return undefined;
      if (left === undefined) left = 2 * number;
      else if (offset === undefined) offset = number;
      else {
        addPiece(pieces, { offset, length: Math.min(number, size - offset) });
        offset = undefined;
        left -= 2;
      }
      if (left === 0 || pieces.length > most) return pieces;
    }
  }
  return undefined;
}

function addPiece(pieces: Piece[], piece: Piece): void {
  if (piece.length <= 0) return;
  const last = pieces.at(-1);
  if (last !== undefined && piece.offset - (last.offset + last.length) <= smallHole)
    last.length = piece.offset + piece.length - last.offset;
  else pieces.push(piece);
}

/**
 * Skips the headers of an entry: one in pax format and the usual one.
 * @returns the start of the list of pieces; `whole` if tar has found no hole; undefined if the headers are not there yet
 */
function bodyOf(bytes: Buffer): Buffer | 'whole' | 'unknown' | undefined {
  if (bytes.length < 512) return undefined;
  if (bytes.toString('latin1', 156, 157) === '0') return 'whole';
  if (bytes.toString('latin1', 156, 157) !== 'x') return 'unknown';
  const length = Number.parseInt(bytes.toString('latin1', 124, 136), 8);
  if (!(length < 65_536)) return 'unknown';
  const end = 512 + 512 * Math.ceil(length / 512) + 512;
  if (bytes.length < end) return undefined;
  const records = bytes.toString('latin1', 512, 512 + length);
  return records.includes(' GNU.sparse.major=1\n') ? bytes.subarray(end) : 'whole';
}
