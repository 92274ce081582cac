import { type FileHandle, mkdir, open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors/app-error.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { ifThere } from '../system/fs/exists.ts';
import { hasTornLine } from '../system/fs/files.ts';
import { currentLog, rotatedLog, rotatedLogs } from './files.ts';
import { type LogOrigin, linePrefix, nobody } from './line.ts';

/** Interval between two checks that the open file still has its name, in ms. */
const checkInterval = 1000;
/** Pause after a failed write, in ms. */
const retryDelay = 1000;

interface AppLogOptions {
  /** returns the path of the directory; see AppLogs */
  directory: () => string;
  /** bytes after which the log is rotated */
  size: number;
  /** called after each rotation */
  rotated: () => void;
  /** called when writes begin to fail */
  failed: (error: Error) => void;
}

/** Lines that were dropped because the disk takes no more. */
interface Gap {
  retryAt: number;
  error: Error;
  lines: number;
}

/**
 * Log of one app: `app.log`, and its rotation. Records are written one after the other, and a rotation comes between two records,
 * so none is lost or torn. If the disk takes no more, lines are counted and dropped: neither the app nor Sluice may wait for an
 * operator to free space.
 */
export class AppLog {
  #options: AppLogOptions;
  readonly #turns = new Lock();
  #file: FileHandle | undefined;
  #size = 0;
  #inode = 0;
  #checkedAt = 0;
  /** highest number of a rotated file so far; a number is never used again */
  #number = 0;
  #isRemoved = false;
  #gap: Gap | undefined;

  constructor(options: AppLogOptions) {
    this.#options = options;
  }

  /** Sets the size for rotations from the next write on. */
  resize(size: number): void {
    this.#options = { ...this.#options, size };
  }

  /** Writes whole records, or drops them. @param records bytes as latin1 */
  write(records: string): Promise<void> {
    return this.#turns.run(() => this.#write(records));
  }

  /** Writes a record of Sluice itself about a process. */
  report(origin: LogOrigin, text: string): Promise<void> {
    const oneLine = Buffer.from(text.replaceAll('\n', '\\n')).toString('latin1');
    return this.write(`${linePrefix(new Date(), origin, 'sys')}${oneLine}\n`);
  }

  /** Rotates the log, unless the log is empty. */
  rotate(): Promise<void> {
    return this.#turns.run(async () => {
      if (!this.#isRemoved && (await endLastLine(this.#path)) > 0) await this.#rotate();
    });
  }

  /** Closes the file. The next write opens it again. */
  close(): Promise<void> {
    return this.#turns.run(() => this.#close());
  }

  /** Closes the file, and drops all further records: the app is being removed. */
  remove(): Promise<void> {
    return this.#turns.run(() => {
      this.#isRemoved = true;
      return this.#close();
    });
  }

  get #path(): string {
    return join(this.#options.directory(), currentLog);
  }

  async #write(records: string): Promise<void> {
    if (this.#isRemoved) return;
    if (this.#gap !== undefined && performance.now() < this.#gap.retryAt) {
      this.#gap.lines += countLines(records);
      return;
    }
    const notice = this.#gapNotice();
    const bytes = Buffer.from(notice + records, 'latin1');
    let written = 0;
    try {
      await this.#checkPlace();
      const file = this.#file ?? (await this.#open());
      // A full disk may take a part of a write, without an error.
      while (written < bytes.length) {
        const { bytesWritten } = await file.write(bytes, written);
        written += bytesWritten;
      }
      this.#size += written;
      if (this.#size >= this.#options.size) await this.#rotate();
      this.#gap = undefined;
    } catch (error) {
      const missing = records.slice(Math.max(0, written - notice.length));
      this.#drop(error as Error, countLines(missing), notice !== '' && written >= notice.length);
      await this.#close();
    }
  }

  /** Closes the file if somebody has moved or removed the file or its directory, so that a new file is created. */
  async #checkPlace(): Promise<void> {
    const now = performance.now();
    if (this.#file === undefined || now - this.#checkedAt < checkInterval) return;
    this.#checkedAt = now;
    if ((await ifThere(stat(this.#path)))?.ino !== this.#inode) await this.#close();
  }

  async #open(): Promise<FileHandle> {
    await makeDirectory(this.#options.directory());
    await endLastLine(this.#path);
    const file = await open(this.#path, 'a', 0o640);
    this.#file = file;
    const { size, ino } = await file.stat();
    this.#size = size;
    this.#inode = ino;
    return file;
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    // All records are written. An error of the close must not stop a rotation, or the end of the runner.
    await file?.close().catch(() => undefined);
  }

  async #rotate(): Promise<void> {
    await this.#close();
    const directory = this.#options.directory();
    const newest = (await rotatedLogs(directory)).at(-1)?.number ?? 0;
    this.#number = Math.max(this.#number, newest) + 1;
    await ifThere(rename(this.#path, rotatedLog(directory, this.#number)));
    this.#options.rotated();
  }

  /** @param isNoticed true if the log already has the notice of the gap so far */
  #drop(error: Error, lines: number, isNoticed: boolean): void {
    const before = isNoticed ? 0 : (this.#gap?.lines ?? 0);
    if (this.#gap === undefined || isNoticed) this.#options.failed(error);
    this.#gap = { retryAt: performance.now() + retryDelay, error, lines: before + lines };
  }

  /** Returns a record about the dropped lines, if there are any. */
  #gapNotice(): string {
    if (this.#gap === undefined || this.#gap.lines === 0) return '';
    const { lines, error } = this.#gap;
    return `${linePrefix(new Date(), nobody, 'sys')}${lines} lines could not be written: ${error.message}\n`;
  }
}

/** Creates a directory, but not its parent: an app that was removed does not come back because a process of it still prints. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o750 });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

/** Ends a record that a kill or a full disk has torn, so that the next one begins a line. @returns the size of the file */
async function endLastLine(path: string): Promise<number> {
  await using file = await ifThere(open(path, 'r+'));
  if (file === undefined) return 0;
  const { size } = await file.stat();
  if (!(await hasTornLine(file))) return size;
  await file.write('\n', size);
  return size + 1;
}

function countLines(records: string): number {
  return records.split('\n').length - 1;
}
