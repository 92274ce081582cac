import { LineAssembler, maxLineLength, originKey } from './assembler.ts';
import type { LogFilter } from './filter.ts';
import type { LogFiles, Place } from './log-files.ts';

/** First part of a file's end in which the last lines are looked for, in bytes. Each further part is 8 times as long. */
const firstPart = 64 * 1024;

/** Limit for the search for the beginning of a line that was written in parts, in bytes. */
const searchLimit = 2 * maxLineLength;

/** Difference between the clock of a file system and ours, in ms. */
const clockSlack = 1000;

interface Tail extends Place {
  /** number of matching lines between the place and the last lines */
  skip: number;
}

/**
 * Finds the place where the last matching lines begin. Lines are only counted here, and read later from that place. So memory does
 * not grow with the number of lines, and new lines follow without a gap.
 * @param lines null for all lines
 */
export async function findTail(files: LogFiles, filter: LogFilter, lines: number | null): Promise<Tail> {
  const { since } = filter;
  const time = since === undefined ? Number.NEGATIVE_INFINITY : since.getTime() - clockSlack;
  const { size, modified } = files.current ?? { size: 0, modified: undefined };
  if (modified !== undefined && modified.getTime() < time)
    return { numbers: [], position: Math.max(0, size - firstPart), skip: 0 };
  const numbers = since === undefined ? files.numbers : await files.numbersSince(time);
  let tail: Tail = { numbers, position: 0, skip: 0 };
  if (lines === null) return tail;
  let reachedAt: number | undefined;
  for await (const { place, count, bytes, firsts } of countBackwards(files, numbers, filter)) {
    const surplus = count - lines;
    tail = { ...place, skip: Math.max(0, surplus) };
    if (surplus < 0) continue;
    reachedAt ??= bytes;
    // Only the first line of each origin may have begun before the place.
    const isWhole = firsts.values().every((index) => index <= surplus);
    if (isWhole || bytes - reachedAt > searchLimit) break;
  }
  return tail;
}

/** Matching lines between a place and the end of the log. */
interface Counted {
  count: number;
  /** bytes of all lines */
  bytes: number;
  /** index of the first line of each origin, from 1 */
  firsts: Map<string, number>;
}

/** Counts the lines after places that are further and further back in a log. */
async function* countBackwards(
  files: LogFiles,
  numbers: number[],
  filter: LogFilter,
): AsyncGenerator<Counted & { place: Place }> {
  const size = files.current?.size ?? 0;
  let place: Place = { numbers: [], position: size };
  let counted: Counted | undefined;
  for (let part = firstPart; place.position > 0; part *= 8) {
    place = { numbers: [], position: Math.max(0, size - part) };
    counted = await countLines(files.linesFrom(place), filter);
    yield { place, ...counted };
  }
  for (const number of numbers.toReversed()) {
    place = { numbers: [number, ...place.numbers], position: 0 };
    counted = join(await countLines(files.rotated([number]), filter), counted);
    yield { place, ...counted };
  }
}

async function countLines(blocks: AsyncIterable<string[]>, filter: LogFilter): Promise<Counted> {
  const assembler = new LineAssembler(filter, new Date());
  const counted: Counted = { count: 0, bytes: 0, firsts: new Map() };
  for await (const texts of blocks) {
    counted.bytes += texts.reduce((sum, text) => sum + text.length + 1, 0);
    for (const { line, whole } of texts.flatMap((text) => assembler.add(text))) {
      if (!whole) continue;
      counted.count += 1;
      const origin = originKey(line);
      if (!counted.firsts.has(origin)) counted.firsts.set(origin, counted.count);
    }
  }
  return counted;
}

function join(older: Counted, newer: Counted = { count: 0, bytes: 0, firsts: new Map() }): Counted {
  const shifted = newer.firsts.entries().map(([origin, index]) => [origin, older.count + index] as const);
  return {
    count: older.count + newer.count,
    bytes: older.bytes + newer.bytes,
    firsts: new Map([...shifted, ...older.firsts]),
  };
}
