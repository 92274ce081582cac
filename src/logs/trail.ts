import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ifThere } from '../system/fs/exists.ts';
import { currentLog, rotatedLog } from './files.ts';
import { LogFile } from './log-file.ts';
import { rotatedNumbers } from './numbers.ts';

export interface TrailStart {
  /** to be read from where it stands; undefined where there is nothing before the next rotated file */
  file: LogFile | undefined;
  /** the number of the rotated file before it; those up to it are not read */
  done: number;
  /** null to go on for ever; else the number of the newest rotated file: it ends with what is there now */
  last: number | null;
}

/**
 * The bytes of a log through all its rotations. Files are known by inode and, when rotated, by number: a follower that
 * looks again finds the file that it was in, renamed once or more, or has it open still, and then those after it.
 */
export class Trail implements AsyncDisposable {
  readonly #directory: string;
  readonly #last: number | null;
  #file: LogFile | undefined;
  /** up to this number all has been read */
  #done: number;
  /** numbers of those that are known to come next */
  #ahead: number[] = [];

  constructor(directory: string, { file, done, last }: TrailStart) {
    this.#directory = directory;
    this.#file = file;
    this.#done = done;
    this.#last = last;
    this.#bound();
  }

  /** The next bytes; `end` where a file has ended for good; undefined where there are no more for now. */
  async next(): Promise<Buffer | 'end' | undefined> {
    this.#file ??= await this.#open();
    if (this.#file === undefined) return undefined;
    const block = await this.#file.read();
    if (block.length > 0) return block;
    // What has come since is not asked for, whatever has become of the file.
    if (this.#file.isLimited) return undefined;
    if (!(await this.#isSucceeded(this.#file))) return undefined;
    // It may have grown between the two looks.
    this.#file.limit(false);
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

  async #open(): Promise<LogFile | undefined> {
    while (this.#last === null || this.#done <= this.#last) {
      if (this.#ahead.length === 0) {
        // Opened before the look at the others: if it is rotated in between, it is among them.
        const current = await LogFile.current(this.#directory);
        await using opened = new AsyncDisposableStack();
        opened.use(current);
        await this.#lookAhead();
        if (this.#ahead.length === 0) {
          opened.move();
          this.#file = current;
          this.#bound();
          return current;
        }
      }
      const number = this.#ahead.shift() as number;
      const file = await LogFile.rotated(this.#directory, number);
      if (file !== undefined) return file;
      this.#done = number;
    }
    return undefined;
  }

  #bound(): void {
    if (this.#file?.number === null) this.#file.limit(this.#last !== null);
  }

  /** Whether it is written no more: there is another one after it. */
  async #isSucceeded(file: LogFile): Promise<boolean> {
    if (file.compressed || this.#ahead.length > 0) return true;
    if (file.number !== null && this.#last !== null) return true;
    const current = await inodeOf(join(this.#directory, currentLog));
    if (current === file.inode) return false;
    await this.#lookAhead();
    if (file.number === null) await this.#findNumber(file);
    this.#ahead = this.#ahead.filter((number) => number > (file.number ?? this.#done));
    return current !== undefined || this.#ahead.length > 0;
  }

  /** Which number the file that was `app.log` has got. It keeps none where it has been removed meanwhile. */
  async #findNumber(file: LogFile): Promise<void> {
    for (const number of this.#ahead) {
      if ((await inodeOf(rotatedLog(this.#directory, number))) === file.inode) {
        file.number = number;
        return;
      }
    }
    // Compressed, it is another file with the same content; then it is the first of those that are left.
    for (const number of this.#ahead) {
      const other = await LogFile.rotated(this.#directory, number);
      if (other === undefined) continue;
      await using _other = other;
      if (await beginLike(other, file)) file.number = number;
      return;
    }
  }

  async #lookAhead(): Promise<void> {
    this.#ahead = await rotatedNumbers(this.#directory, this.#done);
  }
}

/** Undefined where there is no such file. */
async function inodeOf(path: string): Promise<bigint | undefined> {
  return (await ifThere(stat(path, { bigint: true })))?.ino;
}

/** Enough to tell files apart: each line has its time. */
const compared = 512;

/** @param file one that is not compressed */
async function beginLike(other: LogFile, file: LogFile): Promise<boolean> {
  const beginning = await file.readAt(0, compared);
  return beginning.length > 0 && (await other.read()).subarray(0, beginning.length).equals(beginning);
}
