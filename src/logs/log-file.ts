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

/** Number of bytes that tell files apart: each line has its time. */
const comparedLength = 512;

/** Open file of a log. It can be read to its end even if it is renamed or removed. */
export class LogFile implements AsyncDisposable {
  readonly inode: bigint;
  readonly modified: Date;
  /** bytes when the file was opened */
  readonly size: number;
  readonly #handle: FileHandle;
  /** name of a compressed file; undefined for a file that is not compressed */
  readonly #compressed: string | undefined;
  #splitter = new LineSplitter({ longest: maxRecordLength });
  #position = 0;
  /** true if the next line may lack its beginning */
  #isCut = false;

  private constructor(
    handle: FileHandle,
    { ino, size, mtime }: { ino: bigint; size: bigint; mtime: Date },
    compressed: string | undefined,
  ) {
    this.#handle = handle;
    this.inode = ino;
    this.size = Number(size);
    this.modified = mtime;
    this.#compressed = compressed;
  }

  /** Opens the file that is written; undefined if it does not exist. */
  static current(directory: string): Promise<LogFile | undefined> {
    return LogFile.#open(join(directory, currentLog));
  }

  /** Opens a rotated file; undefined if it does not exist. */
  static async rotated(directory: string, number: number): Promise<LogFile | undefined> {
    const path = rotatedLog(directory, number);
    // In this order: the compression may end between the two calls.
    return (await LogFile.#open(path)) ?? (await LogFile.#open(`${path}.gz`, `${currentLog}.${number}.gz`));
  }

  static async #open(path: string, compressed?: string): Promise<LogFile | undefined> {
    await using opened = new AsyncDisposableStack();
    const handle = opened.use(await ifThere(open(path)));
    if (handle === undefined) return undefined;
    const file = new LogFile(handle, await handle.stat({ bigint: true }), compressed);
    opened.move();
    return file;
  }

  /** Sets the position of the next read, in a file that is not compressed: the first line that begins there or later. */
  seek(position: number): void {
    this.#isCut = position > 0;
    this.#position = Math.max(0, position - 1);
    this.#splitter = new LineSplitter({ longest: maxRecordLength });
  }

  /**
   * Yields the lines from the current position up to `end`, as latin1, those of each block at once. An incomplete line follows
   * when its end has come.
   */
  async *lines(end = Number.POSITIVE_INFINITY): AsyncGenerator<string[]> {
    for await (const block of this.#compressed === undefined ? this.#blocks(end) : this.#unpack()) {
      const lines = this.#splitter.push(block.toString('latin1'));
      if (this.#isCut && lines.shift() !== undefined) this.#isCut = false;
      yield lines;
    }
  }

  /** Yields the rest of the lines, including an incomplete one: nothing is written any more. */
  async *rest(): AsyncGenerator<string[]> {
    yield* this.lines();
    yield this.#splitter.flush();
  }

  /** Returns the first bytes, which tell files apart: each line has its time. */
  async start(): Promise<Buffer> {
    if (this.#compressed === undefined) return this.#readAt(0, comparedLength);
    for await (const block of this.#unpack()) return block.subarray(0, comparedLength);
    return Buffer.alloc(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }

  /** Yields the bytes from the current position up to `end`. A stream of the handle would close the handle. */
  async *#blocks(end: number): AsyncGenerator<Buffer> {
    while (this.#position < end) {
      const block = await this.#readAt(this.#position, Math.min(blockSize, end - this.#position));
      if (block.length === 0) break;
      this.#position += block.length;
      yield block;
    }
    // Somebody has emptied the file to free space: it continues from its beginning.
    if ((await this.#handle.stat()).size < this.#position) this.#position = 0;
  }

  async #readAt(position: number, length: number): Promise<Buffer> {
    const { buffer, bytesRead } = await this.#handle.read(Buffer.allocUnsafe(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  }

  /** Yields the unpacked content. A damage is reported in its place, as a line. */
  async *#unpack(): AsyncGenerator<Buffer> {
    const source = Readable.from(this.#blocks(Number.POSITIVE_INFINITY), { objectMode: false });
    const gunzip = createGunzip({ chunkSize: blockSize });
    source.on('error', (error) => gunzip.destroy(error));
    source.pipe(gunzip);
    try {
      yield* gunzip as AsyncIterable<Buffer>;
    } catch (error) {
      const { message } = error as Error;
      yield Buffer.from(`\n${this.#compressed} is damaged, the rest of it is missing: ${message}\n`);
    } finally {
      source.destroy();
      gunzip.destroy();
    }
  }
}
