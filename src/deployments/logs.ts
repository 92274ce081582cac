import { watch } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { systemCode } from '../errors/app-error.ts';
import { LineSplitter } from '../system/lines.ts';
import { Masker } from '../system/mask.ts';
import type { LogQuery } from './service.ts';
import type { Site } from './site.ts';

/** How long a follower waits at most before it looks again, in ms: not every file system tells of changes. */
const lookAgain = 1000;
const blockSize = 64 * 1024;

/**
 * Lines of an app's output: the last ones, over the logs of its generations, and, where it is followed, those that
 * come. Values of the app's variables are masked.
 */
export async function* readLogs(site: Site, { lines, follow, signal }: LogQuery): AsyncIterable<string> {
  const masker = new Masker(Object.values(await site.environment()));
  const { logs } = site.paths;
  const positions = new Map<string, Tail>();
  for (const line of await lastLines(logs, lines, positions)) yield masker.mask(line);
  if (!follow) return;
  using changes = new Changes(logs, signal);
  while (!signal.aborted) {
    for (const line of await newLines(logs, positions)) yield masker.mask(line);
    await changes.next();
  }
}

/** Where reading of a file goes on. */
interface Tail {
  position: number;
  decoder: StringDecoder;
  splitter: LineSplitter;
}

/** The last lines in order; notes in `positions` how far each file has been read. */
async function lastLines(directory: string, wanted: number, positions: Map<string, Tail>): Promise<string[]> {
  let last: string[] = [];
  for (const name of (await logFiles(directory)).reverse()) {
    await using file = await openLog(directory, name);
    if (file === undefined) continue;
    const { lines, end } = await endOfFile(file, wanted - last.length);
    positions.set(name, { position: end, decoder: new StringDecoder(), splitter: new LineSplitter() });
    last = [...lines, ...last];
  }
  return last;
}

/** The last lines of a file, read backwards from its end, and the end. */
async function endOfFile(file: FileHandle, wanted: number): Promise<{ lines: string[]; end: number }> {
  const { size: end } = await file.stat();
  if (wanted <= 0) return { lines: [], end };
  const blocks: Buffer[] = [];
  let start = end;
  // One line end more than lines are wanted: what stands before the first one may be the rest of a line.
  for (let lineEnds = 0; start > 0 && lineEnds <= wanted; ) {
    const length = Math.min(blockSize, start);
    start -= length;
    const block = await readBlock(file, start, length);
    lineEnds += block.reduce((count, byte) => count + (byte === 0x0a ? 1 : 0), 0);
    blocks.unshift(block);
  }
  const splitter = new LineSplitter();
  const lines = [...splitter.push(Buffer.concat(blocks).toString()), ...splitter.flush()];
  return { lines: lines.slice(-wanted), end };
}

/** What has come since, file by file; a new generation's file from its beginning. */
async function newLines(directory: string, positions: Map<string, Tail>): Promise<string[]> {
  const lines: string[] = [];
  for (const name of await logFiles(directory)) {
    const tail = positions.get(name) ?? {
      position: 0,
      decoder: new StringDecoder(),
      splitter: new LineSplitter(),
    };
    positions.set(name, tail);
    await using file = await openLog(directory, name);
    if (file === undefined) continue;
    for (;;) {
      const block = await readBlock(file, tail.position, blockSize);
      if (block.length === 0) break;
      tail.position += block.length;
      lines.push(...tail.splitter.push(tail.decoder.write(block)));
    }
  }
  return lines;
}

/** Undefined where it has gone meanwhile: removed as old, or put aside because its generation did not start. */
async function openLog(directory: string, name: string): Promise<FileHandle | undefined> {
  try {
    return await open(join(directory, name));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function readBlock(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/** Names of the log files, one a generation that has had traffic or may yet, the oldest first. */
async function logFiles(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names
      .filter((name) => /^\d+\.log$/.test(name))
      .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Wakes a follower when something changes in a directory, and now and then at any rate. */
class Changes implements Disposable {
  readonly #directory: string;
  readonly #signal: AbortSignal;
  #watcher: { close(): void } | undefined;
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(directory: string, signal: AbortSignal) {
    this.#directory = directory;
    this.#signal = signal;
    signal.addEventListener('abort', this.#note, { once: true });
    this.#watch();
  }

  /** Resolves at the next change, at once where there was one since the last call. */
  async next(): Promise<void> {
    if (!this.#changed && !this.#signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, lookAgain);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
    }
    this.#changed = false;
    this.#watch();
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener('abort', this.#note);
    this.#watcher?.close();
  }

  readonly #note = () => {
    this.#changed = true;
    this.#wake?.();
  };

  /** The directory appears with the first boot; until then, and where nothing can be watched, the clock does. */
  #watch(): void {
    if (this.#watcher !== undefined) return;
    try {
      const watcher = watch(this.#directory, { persistent: false }, this.#note);
      watcher.on('error', () => {
        watcher.close();
        this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch (error) {
      const code = systemCode(error);
      if (code !== 'ENOENT' && code !== 'ENOSPC' && code !== 'EMFILE') throw error;
    }
  }
}
