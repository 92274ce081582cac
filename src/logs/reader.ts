import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ifThere } from '../system/fs/exists.ts';
import { currentLog, rotatedLog, rotatedNumbers } from './files.ts';
import { LogFile } from './log-file.ts';

interface ReaderStart {
  /** open at the place of the first read; undefined if the next file comes first */
  file: LogFile | undefined;
  /** number of the last rotated file before that place */
  done: number;
  /** number of the newest rotated file: reading ends with the file after it, as it is now; undefined to follow the log */
  newest: number | undefined;
}

/**
 * Reader of the bytes of a log through all its rotations. Loses and repeats nothing: files are known by inode, and rotated files
 * by number. After a rotation, the reader continues in the file that it has open, and then in the files after that one.
 */
export class LogReader implements AsyncDisposable {
  readonly #directory: string;
  readonly #newest: number | undefined;
  #file: LogFile | undefined;
  /** all files up to this number are read */
  #done: number;
  /** numbers of the next rotated files, as far as they are known */
  #next: number[] = [];

  constructor(directory: string, { file, done, newest }: ReaderStart) {
    this.#directory = directory;
    this.#file = file;
    this.#done = done;
    this.#newest = newest;
    if (this.#follows) file?.unlimit();
  }

  /** Returns the next bytes; `end` at the end of a file that is complete; undefined if there are no more bytes for now. */
  async next(): Promise<Buffer | 'end' | undefined> {
    this.#file ??= await this.#open();
    if (this.#file === undefined) return undefined;
    const block = await this.#file.read();
    if (block.length > 0) return block;
    if (!this.#follows && this.#file.number === undefined) return undefined;
    if (!(await this.#isComplete(this.#file))) return undefined;
    // The last record may have come after the read.
    this.#file.unlimit();
    const rest = await this.#file.read();
    if (rest.length > 0) return rest;
    this.#done = this.#file.number ?? this.#done;
    await this[Symbol.asyncDispose]();
    return 'end';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.[Symbol.asyncDispose]();
    this.#file = undefined;
  }

  get #follows(): boolean {
    return this.#newest === undefined;
  }

  async #open(): Promise<LogFile | undefined> {
    while (this.#newest === undefined || this.#done <= this.#newest) {
      if (this.#next.length === 0) {
        // Opened before the list is read: if this file is rotated in between, it is in the list.
        const current = await LogFile.current(this.#directory);
        await using opened = new AsyncDisposableStack();
        opened.use(current);
        await this.#listNext();
        if (this.#next.length === 0) {
          opened.move();
          if (this.#follows) current?.unlimit();
          return current;
        }
      }
      const number = this.#next.shift() as number;
      const file = await LogFile.rotated(this.#directory, number);
      if (file !== undefined) return file;
      this.#done = number;
    }
    return undefined;
  }

  /** Returns true if no more is written to a file, because another file comes after it. */
  async #isComplete(file: LogFile): Promise<boolean> {
    if (file.compressed || this.#next.length > 0) return true;
    if (file.number !== undefined && !this.#follows) return true;
    const current = await inodeOf(join(this.#directory, currentLog));
    if (current === file.inode) return false;
    await this.#listNext();
    file.number ??= await this.#findNumber(file);
    const last = file.number ?? this.#done;
    this.#next = this.#next.filter((number) => number > last);
    return current !== undefined || this.#next.length > 0;
  }

  /** Finds the number that `app.log` got in its rotation; undefined if the file was removed since. */
  async #findNumber(file: LogFile): Promise<number | undefined> {
    for (const number of this.#next) {
      if ((await inodeOf(rotatedLog(this.#directory, number))) === file.inode) return number;
    }
    // If the file was compressed since, it is the first one that exists, with the same content.
    for (const number of this.#next) {
      await using other = (await LogFile.rotated(this.#directory, number)) ?? null;
      if (other !== null) return (await hasSameStart(other, file)) ? number : undefined;
    }
    return undefined;
  }

  async #listNext(): Promise<void> {
    this.#next = await rotatedNumbers(this.#directory, this.#done);
  }
}

async function inodeOf(path: string): Promise<bigint | undefined> {
  return (await ifThere(stat(path, { bigint: true })))?.ino;
}

/** Number of bytes that tell files apart: each line has its time. */
const comparedLength = 512;

/** @param file not compressed */
async function hasSameStart(other: LogFile, file: LogFile): Promise<boolean> {
  const start = await file.readAt(0, comparedLength);
  return start.length > 0 && (await other.read()).subarray(0, start.length).equals(start);
}
