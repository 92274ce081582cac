import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ifThere } from '../system/fs/exists.ts';
import { LineSplitter } from '../system/text/lines.ts';
import { maxLineLength } from './assembler.ts';
import { currentLog, rotatedLog } from './files.ts';

const blockSize = 64 * 1024;

/** Limit of a record, in bytes: a longer one has lost its line ends. */
const maxRecordLength = maxLineLength + 4096;

/** Open file of a log. It can be read to its end even if it is renamed or removed. */
export class LogFile implements AsyncDisposable {
  /** number of the rotated file; undefined for the file that is written */
  number: number | undefined;
  readonly compressed: boolean;
  readonly inode: bigint;
  readonly modified: Date;
  /** bytes when the file was opened */
  readonly size: number;
  readonly #handle: FileHandle;
  #position = 0;
  /** position where reading ends, for a file that is still written. */
  #end: number;
  #contents: AsyncGenerator<Buffer> | undefined;

  private constructor(
    handle: FileHandle,
    { ino, size, mtime }: { ino: bigint; size: bigint; mtime: Date },
    number: number | undefined,
    compressed: boolean,
  ) {
    this.#handle = handle;
    this.inode = ino;
    this.size = Number(size);
    this.#end = this.size;
    this.modified = mtime;
    this.number = number;
    this.compressed = compressed;
  }

  /** Opens the file that is written; undefined if it does not exist. */
  static current(directory: string): Promise<LogFile | undefined> {
    return LogFile.#open(join(directory, currentLog), undefined, false);
  }

  /** Opens a rotated file; undefined if it does not exist. */
  static async rotated(directory: string, number: number): Promise<LogFile | undefined> {
    const path = rotatedLog(directory, number);
    // In this order: the compression may end between the two calls.
    return (await LogFile.#open(path, number, false)) ?? (await LogFile.#open(`${path}.gz`, number, true));
  }

  static async #open(
    path: string,
    number: number | undefined,
    compressed: boolean,
  ): Promise<LogFile | undefined> {
    await using opened = new AsyncDisposableStack();
    const handle = opened.use(await ifThere(open(path)));
    if (handle === undefined) return undefined;
    const file = new LogFile(handle, await handle.stat({ bigint: true }), number, compressed);
    opened.move();
    return file;
  }

  /** Returns the next bytes; none at the end. */
  async read(): Promise<Buffer> {
    if (this.compressed) {
      this.#contents ??= this.#unpack();
      const { value, done } = await this.#contents.next();
      return done ? Buffer.alloc(0) : value;
    }
    const block = await this.readAt(this.#position, Math.min(blockSize, this.#end - this.#position));
    this.#position += block.length;
    // Somebody has emptied the file to free space: it continues from its beginning.
    if (block.length === 0 && (await this.#handle.stat()).size < this.#position) this.#position = 0;
    return block;
  }

  /** Returns bytes at a position of a file that is not compressed. */
  async readAt(position: number, length: number): Promise<Buffer> {
    if (length <= 0) return Buffer.alloc(0);
    const { buffer, bytesRead } = await this.#handle.read(Buffer.allocUnsafe(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  }

  /** Sets the position of the next read; only 0 for a compressed file. */
  seek(position: number): void {
    this.#position = position;
    this.#contents = undefined;
  }

  /** Lets reads return bytes that were written after the file was opened. */
  unlimit(): void {
    this.#end = Number.POSITIVE_INFINITY;
  }

  /** Yields the lines from the current position to the end, as latin1; no incomplete line of the file that is written. */
  async *lines(): AsyncGenerator<string> {
    const splitter = logSplitter();
    for (let block = await this.read(); block.length > 0; block = await this.read())
      yield* splitter.push(block.toString('latin1'));
    if (this.number !== undefined) yield* splitter.flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#contents?.return(undefined);
    await this.#handle.close();
  }

  /** Yields blocks of the file. A stream of the handle would close the handle. */
  async *#blocks(): AsyncGenerator<Buffer> {
    for (let position = 0; ; ) {
      const block = await this.readAt(position, blockSize);
      if (block.length === 0) return;
      position += block.length;
      yield block;
    }
  }

  /** Yields the unpacked content. A damage is reported in its place, as a line. */
  async *#unpack(): AsyncGenerator<Buffer> {
    const source = Readable.from(this.#blocks(), { objectMode: false });
    const gunzip = createGunzip({ chunkSize: blockSize });
    source.on('error', (error) => gunzip.destroy(error));
    source.pipe(gunzip);
    try {
      yield* gunzip as AsyncIterable<Buffer>;
    } catch (error) {
      const { message } = error as Error;
      yield Buffer.from(
        `\n${currentLog}.${this.number}.gz is damaged, the rest of it is missing: ${message}\n`,
      );
    } finally {
      source.destroy();
      gunzip.destroy();
    }
  }
}

/** Creates a splitter for the bytes of a log as latin1. */
export function logSplitter(): LineSplitter {
  return new LineSplitter({ longest: maxRecordLength });
}
