import type { Matcher } from './filter.ts';
import { Joiner, longestLine, originKey, tornLine } from './join.ts';
import { parseLine } from './line.ts';
import { LogFile } from './log-file.ts';
import { rotatedNumbers } from './numbers.ts';
import { ByteLines } from './splitter.ts';
import type { TrailStart } from './trail.ts';

const blockSize = 64 * 1024;

/** How far before the first line that is wanted its beginning is looked for, in bytes. */
const lookedBack = 2 * longestLine;

/** The clock of a file system may be a little behind ours, in ms. */
const clockSlack = 1000;

interface LastLines extends Omit<TrailStart, 'last'> {
  /** the number of the newest rotated file */
  newest: number;
  /** how many lines that match come before those that are wanted */
  skip: number;
}

/**
 * Where the last lines that match begin. Lines are only counted here, backwards, and read later, forwards, from the
 * place that was found: so however many are wanted, none has to be held, and following goes on seamlessly.
 * @param wanted null for all of them
 */
export async function findLastLines(
  directory: string,
  matcher: Matcher,
  wanted: number | null,
  since: Date | undefined,
): Promise<LastLines> {
  const { current, numbers } = await snapshot(directory);
  const newest = numbers.at(-1) ?? 0;
  const count = new Count(matcher, wanted ?? Number.POSITIVE_INFINITY);
  const found: LastLines = { file: current, done: newest, newest, skip: 0 };
  try {
    if (current !== undefined) await countCurrent(current, count, since);
    // One that is not there now may come: then it begins after those that are.
    const older = current !== undefined && isBefore(current, since) ? [] : numbers.toReversed();
    for (const number of older) {
      if (count.enough) break;
      const file = await LogFile.rotated(directory, number);
      if (file === undefined) continue;
      if (isBefore(file, since)) {
        await file[Symbol.asyncDispose]();
        break;
      }
      await found.file?.[Symbol.asyncDispose]();
      found.file = file;
      found.done = number - 1;
      if (wanted !== null) await countRotated(file, count);
    }
  } catch (error) {
    await found.file?.[Symbol.asyncDispose]();
    throw error;
  }
  return { ...found, skip: wanted === null ? 0 : Math.max(0, count.lines - wanted) };
}

/** The file that is written and the numbers of the others, at one time. */
async function snapshot(directory: string): Promise<{ current: LogFile | undefined; numbers: number[] }> {
  for (let numbers = await rotatedNumbers(directory); ; ) {
    const current = await LogFile.current(directory);
    await using opened = new AsyncDisposableStack();
    opened.use(current);
    const again = await rotatedNumbers(directory);
    if (again.at(-1) === numbers.at(-1)) {
      opened.move();
      return { current, numbers };
    }
    numbers = again;
  }
}

function isBefore(file: LogFile, since: Date | undefined): boolean {
  return since !== undefined && file.modified.getTime() < since.getTime() - clockSlack;
}

async function countCurrent(file: LogFile, count: Count, since: Date | undefined): Promise<void> {
  const before = isBefore(file, since);
  if (count.wanted === Number.POSITIVE_INFINITY && !before) return;
  let start: number | undefined;
  for await (const line of linesBackwards(file)) {
    // What stands after the last line end is still being written: it is left for whoever follows.
    if (start !== undefined) count.add(line.text);
    start = line.start;
    if (before || count.enough) break;
  }
  file.seek(start ?? 0);
}

async function countRotated(file: LogFile, count: Count): Promise<void> {
  if (file.compressed) return countForwards(file, count);
  for await (const line of linesBackwards(file)) {
    count.add(line.text);
    file.seek(line.start);
    if (count.enough) break;
  }
}

/** The compressed can only be read from their beginning, and so are counted whole. */
async function countForwards(file: LogFile, count: Count): Promise<void> {
  const lines = new ByteLines();
  const joiner = new Joiner(count.matcher, file.modified);
  const firsts = new Map<string, number>();
  let total = 0;
  let bytes = 0;
  const add = (texts: string[]) => {
    for (const { line, whole } of texts.flatMap((text) => joiner.add(text))) {
      if (!whole) continue;
      total += 1;
      const key = originKey(line);
      if (!firsts.has(key)) firsts.set(key, total);
    }
  };
  for (let block = await file.read(); block.length > 0; block = await file.read()) {
    bytes += block.length;
    add(lines.push(block));
  }
  add(lines.flush());
  count.addFile(total, firsts, bytes);
  file.seek(0);
}

/** Among the origins: torn lines, until the line has been seen that they have their time from. */
const timeless = '';

/** Counts lines that match, from the last one backwards, and knows when all of those that are wanted have been seen whole. */
class Count {
  readonly matcher: Matcher;
  readonly wanted: number;
  lines = 0;
  /** whose lines have been seen, but may have begun earlier */
  readonly #begun = new Set<string>();
  /** torn lines: their time is that of the line before */
  #torn = 0;
  #lookedBack = 0;

  constructor(matcher: Matcher, wanted: number) {
    this.matcher = matcher;
    this.wanted = wanted;
  }

  get enough(): boolean {
    return this.lines >= this.wanted && (this.#begun.size === 0 || this.#lookedBack > lookedBack);
  }

  add(text: string): void {
    if (text === '') return;
    const reached = this.lines >= this.wanted;
    if (reached) this.#lookedBack += text.length + 1;
    const record = parseLine(text);
    if (record === undefined) {
      if (!this.matcher.kind(tornLine(text, ''))) return;
      this.#torn += 1;
      if (!reached) this.#begun.add(timeless);
      if (this.matcher.time('')) this.#countTorn();
      return;
    }
    this.#begun.delete(timeless);
    if (this.matcher.time(record.time)) this.#countTorn();
    this.#torn = 0;
    if (!this.matcher.kind(record)) return;
    const key = originKey(record);
    if (!reached) this.#begun.add(key);
    else if (!record.continued) this.#begun.delete(key);
    if (!record.continued && this.matcher.time(record.time)) this.lines += 1;
  }

  /**
   * A file that was counted forwards.
   * @param firsts which one of its lines is the first of each origin: only that can have begun in an older file
   */
  addFile(total: number, firsts: Map<string, number>, bytes: number): void {
    if (this.lines >= this.wanted) this.#lookedBack += bytes;
    const unwanted = total - (this.wanted - this.lines);
    for (const [key, index] of firsts) {
      if (index > unwanted) this.#begun.add(key);
      else this.#begun.delete(key);
    }
    this.lines += total;
  }

  #countTorn(): void {
    this.lines += this.#torn;
    this.#torn = 0;
  }
}

/** The lines of a file that is not compressed, from its end; the first one is what stands after the last line end. */
async function* linesBackwards(file: LogFile): AsyncGenerator<{ text: string; start: number }> {
  // The beginning of a line, as far as it has been seen: what comes after it is known.
  let rest = '';
  for (let position = file.size; position > 0; ) {
    const length = Math.min(blockSize, position);
    position -= length;
    const texts = ((await file.readAt(position, length)).toString('latin1') + rest).split('\n');
    let start = position + length + rest.length;
    for (let index = texts.length - 1; index > 0; index -= 1) {
      const text = texts[index] as string;
      start -= text.length;
      yield { text, start };
      start -= 1;
    }
    rest = texts[0] as string;
    // What has no line ends is no line of ours.
    if (rest.length > longestLine * 2) {
      yield { text: rest, start: position };
      rest = '';
    }
  }
  yield { text: rest, start: 0 };
}
