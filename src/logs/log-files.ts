import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ifThere } from '../system/fs/exists.ts';
import { currentLog, rotatedNumbers } from './files.ts';
import { LogFile } from './log-file.ts';

/** Interval between two checks for new lines, in ms. */
const interval = 100;

/** Place in a log: numbers of the rotated files that come after it, and the position in the file that is written. */
export interface Place {
  numbers: number[];
  position: number;
}

/**
 * Files of a log between two rotations. Nothing is lost or repeated: files are known by inode, and rotated files by number. The
 * file that is written stays open, and is read to its end even if it is rotated meanwhile.
 */
export class LogFiles implements AsyncDisposable {
  readonly #directory: string;
  /** numbers of the rotated files, in order */
  numbers: number[] = [];
  /** file that is written; undefined if there is none */
  current: LogFile | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Opens the file that is written, and lists the rotated files after a number, without a rotation in between. */
  async open(after?: number): Promise<void> {
    for (let numbers = await rotatedNumbers(this.#directory, after); ; ) {
      this.current = await LogFile.current(this.#directory);
      this.numbers = await rotatedNumbers(this.#directory, after);
      if (this.numbers.at(-1) === numbers.at(-1)) return;
      await this.current?.[Symbol.asyncDispose]();
      numbers = this.numbers;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.current?.[Symbol.asyncDispose]();
  }

  /** Returns the numbers of the rotated files that have lines since a time; files before a file without such lines have none. */
  async numbersSince(time: number): Promise<number[]> {
    for (const [index, number] of [...this.numbers.entries()].reverse()) {
      await using file = (await LogFile.rotated(this.#directory, number)) ?? null;
      if (file !== null && file.modified.getTime() < time) return this.numbers.slice(index + 1);
    }
    return this.numbers;
  }

  /** Yields the lines from a place to the end of the log at the opening. */
  async *linesFrom({ numbers, position }: Place): AsyncGenerator<string[]> {
    yield* this.rotated(numbers);
    this.current?.seek(position);
    if (this.current !== undefined) yield* this.current.lines(this.current.size);
  }

  /** Yields the lines that are written later, until the signal aborts. To be called at the end of `linesFrom`. */
  async *newLines(signal: AbortSignal): AsyncGenerator<string[]> {
    const pause = () => sleep(interval, undefined, { signal }).catch(() => undefined);
    for (let done = this.numbers.at(-1) ?? 0; !signal.aborted; ) {
      const { current } = this;
      if (current !== undefined) {
        yield* current.lines();
        if (!(await this.#isComplete(current, done))) {
          await pause();
          continue;
        }
        // The last record may have come after the read.
        yield* current.rest();
        done = (await this.#numberOf(current, done)) ?? done;
        await current[Symbol.asyncDispose]();
      }
      await this.open(done);
      yield* this.rotated(this.numbers);
      done = this.numbers.at(-1) ?? done;
      if (this.current === undefined) await pause();
    }
  }

  /** Yields the lines of rotated files. */
  async *rotated(numbers: number[]): AsyncGenerator<string[]> {
    for (const number of numbers) {
      // A removed file may be followed by others.
      await using file = (await LogFile.rotated(this.#directory, number)) ?? null;
      if (file !== null) yield* file.rest();
    }
  }

  /** Returns true if no more is written to a file: another file has its name, or it was rotated. @param done a lower number */
  async #isComplete(file: LogFile, done: number): Promise<boolean> {
    const named = await ifThere(stat(join(this.#directory, currentLog), { bigint: true }));
    if (named !== undefined) return named.ino !== file.inode;
    return (await rotatedNumbers(this.#directory, done)).length > 0;
  }

  /** Finds the number that a file got in its rotation; undefined if the file was removed since. @param after a lower number */
  async #numberOf(file: LogFile, after: number): Promise<number | undefined> {
    const start = await file.start();
    for (const number of await rotatedNumbers(this.#directory, after)) {
      await using other = (await LogFile.rotated(this.#directory, number)) ?? null;
      if (other === null) continue;
      // If the file was compressed since, another file has the same content.
      if (other.inode === file.inode || (start.length > 0 && start.equals(await other.start())))
        return number;
    }
    return undefined;
  }
}
