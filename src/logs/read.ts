import { LineAssembler } from './assembler.ts';
import type { LogFilter } from './filter.ts';
import type { LogLine } from './line.ts';
import { LogFiles } from './log-files.ts';
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
  await using files = new LogFiles(directory);
  await files.open();
  const tail = await findTail(files, filter, lines);
  let { skip } = tail;
  const assembler = new LineAssembler(filter, files.current?.modified ?? new Date());
  const blocks = async function* () {
    yield* files.linesFrom(tail);
    if (follow) yield* files.newLines(signal);
  };
  for await (const texts of blocks()) {
    if (signal.aborted) return;
    for (const { line, whole } of texts.flatMap((text) => assembler.add(text))) {
      if (skip > 0) skip -= whole ? 1 : 0;
      else yield { ...line, text: Buffer.from(line.text, 'latin1').toString() };
    }
  }
}
