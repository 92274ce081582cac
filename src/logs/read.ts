import { watch } from 'node:fs';
import { hasCode } from '../errors/app-error.ts';
import { LineAssembler } from './assembler.ts';
import { type LogFilter, Matcher } from './filter.ts';
import type { LogLine } from './line.ts';
import { logSplitter } from './log-file.ts';
import { LogReader } from './reader.ts';
import { findTail } from './tail.ts';

export interface LogQuery {
  filter: LogFilter;
  /** number of the last lines that match; null for all */
  lines: number | null;
  /** true to wait for new lines until the signal aborts */
  follow: boolean;
  signal: AbortSignal;
}

/**
 * Yields the lines of a log, the oldest first, through all its rotated files: the last lines, and new lines if the log is
 * followed. Yields each line once. Only lines of files that are removed before they are read are missing. A line without an end
 * is still being written, and is yielded when its end has come.
 */
export async function* readLog(directory: string, query: LogQuery): AsyncGenerator<LogLine> {
  const { filter, lines, follow, signal } = query;
  // Watched from the beginning, so that no change is missed.
  using changes = follow ? new Changes(directory, signal) : undefined;
  const matcher = new Matcher(filter);
  const tail = await findTail(directory, matcher, lines, filter.since);
  let { skip } = tail;
  await using reader = new LogReader(directory, { ...tail, newest: follow ? undefined : tail.newest });
  const splitter = logSplitter();
  const assembler = new LineAssembler(matcher, tail.file?.modified ?? new Date());
  while (!signal.aborted) {
    const bytes = await reader.next();
    if (bytes === undefined) {
      if (changes === undefined) return;
      await changes.next();
      continue;
    }
    for (const text of bytes === 'end' ? splitter.flush() : splitter.push(bytes.toString('latin1'))) {
      for (const { line, whole } of assembler.add(text)) {
        if (skip > 0) skip -= whole ? 1 : 0;
        else yield { ...line, text: Buffer.from(line.text, 'latin1').toString() };
      }
    }
  }
}

/** Longest pause of a follower, in ms: not every file system reports changes. */
const maxPause = 1000;

/** Wait for changes in a directory, with a limit of time. */
class Changes implements Disposable {
  readonly #directory: string;
  readonly #signal: AbortSignal;
  #watcher: { close(): void } | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(directory: string, signal: AbortSignal) {
    this.#directory = directory;
    this.#signal = signal;
    signal.addEventListener('abort', this.#notice, { once: true });
    this.#watch();
  }

  /** Waits for the next change since the last call. */
  async next(): Promise<void> {
    if (this.#signal.aborted) return;
    const timer = setTimeout(this.#notice, maxPause);
    await this.#changed.promise;
    clearTimeout(timer);
    this.#changed = Promise.withResolvers();
    this.#watch();
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener('abort', this.#notice);
    this.#watcher?.close();
  }

  readonly #notice = () => this.#changed.resolve();

  /** Watches the directory, if possible: the first boot creates it, and the system limits the number of watches. */
  #watch(): void {
    if (this.#watcher !== undefined) return;
    try {
      const watcher = watch(this.#directory, { persistent: false }, this.#notice);
      watcher.on('error', () => {
        watcher.close();
        this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOSPC', 'EMFILE')) throw error;
    }
  }
}
