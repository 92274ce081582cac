import { Changes } from './changes.ts';
import { type LogFilter, Matcher } from './filter.ts';
import { Joiner, type LogLine } from './join.ts';
import { findLastLines } from './last.ts';
import { ByteLines } from './splitter.ts';
import { Trail } from './trail.ts';

export interface LogQuery {
  filter: LogFilter;
  /** how many of the last lines that match; null for all of them */
  lines: number | null;
  /** goes on with new lines until the signal aborts */
  follow: boolean;
  signal: AbortSignal;
}

/**
 * The lines of a log, the oldest first, through all its rotated files: the last ones, and, where it is followed, those
 * that come. None comes twice; none is left out but those of files that were removed before they could be read. One
 * without a line end is still being written, and is held back until that comes.
 */
export async function* readLog(directory: string, query: LogQuery): AsyncGenerator<LogLine> {
  const { filter, lines: wanted, follow, signal } = query;
  // Before the first look: what changes after it must wake us.
  using changes = follow ? new Changes(directory, signal) : undefined;
  const matcher = new Matcher(filter);
  const start = await findLastLines(directory, matcher, wanted, filter.since);
  let { skip } = start;
  await using trail = new Trail(directory, { ...start, last: follow ? null : start.newest });
  const lines = new ByteLines();
  const joiner = new Joiner(matcher, start.file?.modified ?? new Date());
  while (!signal.aborted) {
    const bytes = await trail.next();
    if (bytes === undefined) {
      if (changes === undefined) return;
      await changes.next();
      continue;
    }
    for (const text of bytes === 'end' ? lines.flush() : lines.push(bytes)) {
      for (const { line, whole } of joiner.add(text)) {
        if (skip > 0) skip -= whole ? 1 : 0;
        else yield { ...line, text: Buffer.from(line.text, 'latin1').toString() };
      }
    }
  }
}
