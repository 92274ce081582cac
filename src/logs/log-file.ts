import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ifThere } from '../system/fs/exists.ts';
import { currentLog, rotatedLog } from './files.ts';

const blockSize = 64 * 1024;

/** A file of a log, open: it can be read to its end whatever becomes of its name. */
export class LogFile implements AsyncDisposable {
  /** null while it is the one that is written */
  number: number | null;
  readonly compressed: boolean;
  readonly inode: bigint;
  readonly modified: Date;
  /** when it was opened */
  readonly size: number;
  readonly #handle: FileHandle;
  #position = 0;
  #limit = Number.POSITIVE_INFINITY;
  #unpacked: AsyncIterator<Buffer> | undefined;

  private constructor(
    handle: FileHandle,
    stats: { ino: bigint; size: bigint; mtime: Date },
    number: number | null,
    compressed: boolean,
  ) {
    this.#handle = handle;
    this.inode = stats.ino;
    this.size = Number(stats.size);
    this.modified = stats.mtime;
    this.number = number;
    this.compressed = compressed;
  }

  /** The one that is written. Undefined where there is none. */
  static current(directory: string): Promise<LogFile | undefined> {
    return LogFile.#open(join(directory, currentLog), null, false);
  }

  /** Undefined where it is gone. It is looked for as it was first: its compression may end between the two looks. */
  static async rotated(directory: string, number: number): Promise<LogFile | undefined> {
    const path = rotatedLog(directory, number);
    return (await LogFile.#open(path, number, false)) ?? (await LogFile.#open(`${path}.gz`, number, true));
  }

  static async #open(path: string, number: number | null, compressed: boolean): Promise<LogFile | undefined> {
    const handle = await ifThere(open(path));
    if (handle === undefined) return undefined;
    try {
      return new LogFile(handle, await handle.stat({ bigint: true }), number, compressed);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** The next bytes, none where there are none now. */
  async read(): Promise<Buffer> {
    if (this.compressed) return this.#unpack();
    const block = await this.readAt(this.#position, Math.min(blockSize, this.#limit - this.#position));
    // Somebody has emptied it to make room: it goes on from its beginning.
    if (block.length === 0 && (await this.#handle.stat()).size < this.#position) {
      this.#position = 0;
      return this.readAt(0, 0);
    }
    this.#position += block.length;
    return block;
  }

  /** Bytes from a place of a file that is not compressed. */
  async readAt(position: number, length: number): Promise<Buffer> {
    if (length <= 0) return Buffer.alloc(0);
    const { buffer, bytesRead } = await this.#handle.read(Buffer.allocUnsafe(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  }

  /** Where the next read begins: in one that is compressed, only at its beginning. */
  seek(position: number): void {
    this.#position = position;
    this.#unpacked = undefined;
  }

  /** What is written from now on is not read, until the limit is lifted. */
  limit(on: boolean): void {
    this.#limit = on ? this.size : Number.POSITIVE_INFINITY;
  }

  get isLimited(): boolean {
    return this.#limit !== Number.POSITIVE_INFINITY;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#unpacked?.return?.();
    await this.#handle.close();
  }

  async #unpack(): Promise<Buffer> {
    this.#unpacked ??= this.#contents();
    const { value, done } = await this.#unpacked.next();
    return done ? Buffer.alloc(0) : value;
  }

  /** Not a stream of the handle's own: those close it when they are done. */
  async *#blocks(): AsyncGenerator<Buffer> {
    for (let position = 0; ; ) {
      const block = await this.readAt(position, blockSize);
      if (block.length === 0) return;
      position += block.length;
      yield block;
    }
  }

  /** What is damaged is told in its place, as a line. */
  async *#contents(): AsyncGenerator<Buffer> {
    const source = Readable.from(this.#blocks(), { objectMode: false });
    const gunzip = createGunzip({ chunkSize: blockSize });
    source.on('error', (error) => gunzip.destroy(error));
    source.pipe(gunzip);
    try {
      yield* gunzip as AsyncIterable<Buffer>;
    } catch (error) {
      const message = (error as Error).message;
      yield Buffer.from(
        `\n${currentLog}.${this.number}.gz is damaged, the rest of it is missing: ${message}\n`,
      );
    } finally {
      source.destroy();
      gunzip.destroy();
    }
  }
}
