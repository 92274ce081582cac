import { type FileHandle, mkdir, open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createStream, type RotatingFileStream } from 'rotating-file-stream';
import { systemCode } from '../errors/app-error.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { ifThere } from '../system/fs/exists.ts';
import { currentLog, rotatedLog, rotatedLogs } from './files.ts';
import { type LogOrigin, linePrefix, nobody } from './line.ts';

/** How often it is seen to that the file is still the one in its place, in ms. */
const lookEvery = 1000;
/** How long a log that cannot be written is left alone before it is tried again, in ms. */
const retryAfter = 1000;

interface AppLogOptions {
  directory: string;
  /** the path by which it is to be used now, where that is another one: see AppLogs */
  at?: (directory: string) => string;
  /** bytes after which it is rotated */
  size: number;
  /** told of each file that was rotated away */
  rotated: () => void;
  /** told once of each time that it cannot be written any more */
  failed: (error: Error) => void;
}

/**
 * The `app.log` of one app. Records go to the disk one write after the other, and a rotation comes between two of them:
 * none is lost, none is torn. Where the disk takes no more, lines are counted and given up: neither the app nor we must
 * wait for an operator to find space.
 */
export class AppLog {
  #options: AppLogOptions;
  readonly #turns = new Slots(1);
  #stream: RotatingFileStream | undefined;
  /** of the newest rotated file that there ever was: numbers never come again */
  #number = 0;
  /** of the file, as far as it is known, and when it was last looked at */
  #inode: number | undefined;
  #lookedAt = 0;
  /** how many bytes of what is being written have been */
  #written = 0;
  #isOver = false;
  #broken: { until: number; error: Error; lines: number } | undefined;

  constructor(options: AppLogOptions) {
    this.#options = options;
  }

  /**
   * The number of the newest rotated file that is complete, 0 before the first. While a rotation is under way its file
   * is there for a moment, empty, before the full one takes its name: whoever compressed that would remove the full one.
   */
  newest(): Promise<number> {
    return this.#turns.run(async () => (await rotatedLogs(this.#directory)).at(-1)?.number ?? 0);
  }

  /** From the next opening on. */
  resize(size: number): Promise<void> {
    if (size === this.#options.size) return Promise.resolve();
    this.#options = { ...this.#options, size };
    return this.close();
  }

  /** Fulfilled when the records are written, or given up. @param records whole ones, bytes as latin1 */
  write(records: string): Promise<void> {
    return this.#turns.run(() => this.#write(records));
  }

  /** What Sluice itself has to say of a process, as a record. */
  say(origin: LogOrigin, text: string): Promise<void> {
    const oneLine = Buffer.from(text.replaceAll('\n', '\\n')).toString('latin1');
    return this.write(`${linePrefix(new Date(), origin, 'sys')}${oneLine}\n`);
  }

  /** Puts what is there aside and begins anew; an empty log stays. */
  rotate(): Promise<void> {
    return this.#turns.run(async () => {
      if (this.#isOver) return;
      const { rotated } = this.#options;
      const directory = this.#directory;
      await this.#close();
      if ((await endLine(join(directory, currentLog))) === 0) return;
      await rename(join(directory, currentLog), rotatedLog(directory, await this.#nextNumber()));
      rotated();
    });
  }

  /** Written to again, it opens again. */
  close(): Promise<void> {
    return this.#turns.run(() => this.#close());
  }

  /** What still comes is for nobody: the app is being removed. */
  end(): Promise<void> {
    return this.#turns.run(async () => {
      this.#isOver = true;
      await this.#close();
    });
  }

  get #directory(): string {
    const { directory, at } = this.#options;
    return at === undefined ? directory : at(directory);
  }

  async #close(): Promise<void> {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#inode = undefined;
    if (stream === undefined) return;
    await new Promise<void>((resolve) => stream.end(resolve));
  }

  async #write(records: string): Promise<void> {
    if (this.#isOver) return;
    if (this.#broken !== undefined && performance.now() < this.#broken.until) {
      this.#broken.lines += countLines(records);
      return;
    }
    const lost = this.#lost();
    this.#written = 0;
    try {
      await this.#look();
      this.#stream ??= await this.#open();
      await put(this.#stream, lost + records);
      this.#broken = undefined;
    } catch (error) {
      // A rotation may have failed after all was written.
      const told = lost !== '' && this.#written >= lost.length;
      const missing = records.slice(Math.max(0, this.#written - lost.length));
      this.#giveUp(error as Error, countLines(missing), told);
    }
  }

  /** Whoever removes or moves the file away, or its directory, is to find what comes then in its place. */
  async #look(): Promise<void> {
    const now = performance.now();
    if (this.#stream === undefined || now - this.#lookedAt < lookEvery) return;
    this.#lookedAt = now;
    const found = await ifThere(stat(join(this.#directory, currentLog)));
    if (this.#inode !== undefined && found?.ino !== this.#inode) await this.#close();
  }

  /** @param told whether it has been said by now what was given up before */
  #giveUp(error: Error, lines: number, told: boolean): void {
    this.#stream?.destroy();
    this.#stream = undefined;
    const before = told ? 0 : (this.#broken?.lines ?? 0);
    if (this.#broken === undefined || told) this.#options.failed(error);
    this.#broken = { until: performance.now() + retryAfter, error, lines: before + lines };
  }

  /** A record that says what is missing, where something is. */
  #lost(): string {
    if (this.#broken === undefined || this.#broken.lines === 0) return '';
    const { lines, error } = this.#broken;
    return `${linePrefix(new Date(), nobody, 'sys')}${lines} lines could not be written: ${error.message}\n`;
  }

  async #nextNumber(): Promise<number> {
    const newest = (await rotatedLogs(this.#directory)).at(-1)?.number ?? 0;
    this.#number = Math.max(this.#number, newest) + 1;
    return this.#number;
  }

  async #open(): Promise<RotatingFileStream> {
    const { size, rotated } = this.#options;
    const directory = this.#directory;
    await makeDirectory(directory);
    await endLine(join(directory, currentLog));
    this.#number = (await this.#nextNumber()) - 1;
    const name = (time: number | Date | null) => {
      if (time === null) return currentLog;
      this.#number += 1;
      return rotatedLog('', this.#number);
    };
    const stream = createStream(name, { path: directory, size: `${size}B`, mode: 0o640 });
    stream.on('rotated', rotated);
    stream.on('open', () => {
      // It takes a write that the disk took half of for a whole one, and says nothing of the rest.
      const { file } = stream as unknown as { file: FileHandle };
      this.#inode = undefined;
      file.stat().then(
        ({ ino }) => {
          this.#inode = ino;
        },
        () => undefined,
      );
      const write = file.write.bind(file) as (chunk: Buffer, at: number) => Promise<{ bytesWritten: number }>;
      const writeAll = async (chunk: Buffer) => {
        for (let at = 0; at < chunk.length; ) {
          const { bytesWritten } = await write(chunk, at);
          at += bytesWritten;
          this.#written += bytesWritten;
        }
      };
      Object.assign(file, { write: writeAll });
    });
    // Whoever writes is told by the write's callback; without a listener it would end the process.
    stream.on('error', () => undefined);
    return stream;
  }
}

function put(stream: RotatingFileStream, records: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(records, 'latin1', (error) => (error ? reject(error) : resolve()));
  });
}

/** Its parent must be there: an app that has been removed does not come back because something of it still prints. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o750 });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

/** A record that was torn by a kill or a full disk is ended, so that the next one begins a line. @returns the size */
async function endLine(path: string): Promise<number> {
  await using file = await ifThere(open(path, 'r+'));
  if (file === undefined) return 0;
  const { size } = await file.stat();
  if (size === 0) return 0;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  if (buffer[0] === 0x0a) return size;
  await file.write('\n', size);
  return size + 1;
}

function countLines(records: string): number {
  let lines = 0;
  for (let at = records.indexOf('\n'); at !== -1; at = records.indexOf('\n', at + 1)) lines += 1;
  return lines;
}
