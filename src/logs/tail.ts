import { LineAssembler, maxLineLength, originKey } from './assembler.ts';
import { rotatedNumbers } from './files.ts';
import type { Matcher } from './filter.ts';
import { LogFile } from './log-file.ts';

/** First part of a file's end in which the last lines are looked for, in bytes. Each further part is 8 times as long. */
const firstPart = 64 * 1024;

/** Limit for the search for the beginning of a line that was written in parts, in bytes. */
const searchLimit = 2 * maxLineLength;

/** Difference between the clock of a file system and ours, in ms. */
const clockSlack = 1000;

/** Place in a log from which the last lines are read. */
interface Tail {
  /** open at the place; undefined if the next file comes first */
  file: LogFile | undefined;
  /** number of the last rotated file before the place */
  done: number;
  /** number of the newest rotated file */
  newest: number;
  /** number of matching lines between the place and the last lines */
  skip: number;
}

/**
 * Finds the place where the last matching lines begin. Lines are only counted here, and read later from that place. So memory does
 * not grow with the number of lines, and new lines follow without a gap.
 * @param lines null for all lines
 */
export async function findTail(
  directory: string,
  matcher: Matcher,
  lines: number | null,
  since: Date | undefined,
): Promise<Tail> {
  const { current, numbers } = await snapshot(directory);
  const newest = numbers.at(-1) ?? 0;
  const tail: Tail = { file: current, done: newest, newest, skip: 0 };
  const count = new TailCount(matcher, lines ?? Number.POSITIVE_INFINITY);
  const isBefore = ({ modified }: LogFile) =>
    since !== undefined && modified.getTime() < since.getTime() - clockSlack;
  try {
    if (current !== undefined) {
      if (isBefore(current)) {
        current.seek(await lineStart(current, current.size - firstPart));
        return tail;
      }
      await count.add(current);
    }
    for (const number of numbers.toReversed()) {
      if (count.isEnough) break;
      const file = await LogFile.rotated(directory, number);
      // A removed file may be followed by others.
      if (file === undefined) continue;
      if (isBefore(file)) {
        await file[Symbol.asyncDispose]();
        break;
      }
      await tail.file?.[Symbol.asyncDispose]();
      tail.file = file;
      tail.done = number - 1;
      await count.add(file);
    }
  } catch (error) {
    await tail.file?.[Symbol.asyncDispose]();
    throw error;
  }
  return { ...tail, skip: count.surplus };
}

/** Returns the open file and the numbers of the rotated files, between two rotations. */
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

/** Matching lines between a place of a file and its end. */
interface Counted {
  lines: number;
  bytes: number;
  /** index of the first line of each origin: only this line may have begun before the place */
  firsts: Map<string, number>;
}

/** Count of matching lines, from the newest file to older ones. */
class TailCount {
  readonly #matcher: Matcher;
  readonly #limit: number;
  #lines = 0;
  /** bytes between the end of the log and the current place */
  #bytes = 0;
  /** value of `#bytes` when enough lines were counted */
  #reachedAt: number | undefined;
  /** origins of the last lines that may have begun earlier */
  #begun = new Set<string>();

  constructor(matcher: Matcher, limit: number) {
    this.#matcher = matcher;
    this.#limit = limit;
    if (limit === 0) this.#reachedAt = 0;
  }

  /** Returns true if enough lines are counted, and none of the last ones may have begun earlier. */
  get isEnough(): boolean {
    if (this.#reachedAt === undefined) return false;
    return this.#begun.size === 0 || this.#bytes - this.#reachedAt > searchLimit;
  }

  /** Number of lines that were counted beyond the limit. */
  get surplus(): number {
    return Math.max(0, this.#lines - this.#limit);
  }

  /** Counts lines of a file from its end, as far as needed, and seeks the place. */
  async add(file: LogFile): Promise<void> {
    if (this.#limit === Number.POSITIVE_INFINITY) return;
    const before = { lines: this.#lines, bytes: this.#bytes, begun: this.#begun };
    for (let part = firstPart; ; part *= 8) {
      const start = file.compressed ? 0 : await lineStart(file, file.size - part);
      file.seek(start);
      const { lines, bytes, firsts } = await this.#count(file);
      // The part contains the parts before it.
      this.#lines = before.lines + lines;
      this.#bytes = before.bytes + bytes;
      this.#begun = new Set(before.begun);
      const surplus = this.#lines - this.#limit;
      if (surplus >= 0) this.#reachedAt ??= this.#bytes;
      for (const [origin, index] of firsts) {
        if (index > surplus) this.#begun.add(origin);
        else this.#begun.delete(origin);
      }
      file.seek(start);
      if (start === 0 || this.isEnough) return;
    }
  }

  async #count(file: LogFile): Promise<Counted> {
    const assembler = new LineAssembler(this.#matcher, file.modified);
    const counted: Counted = { lines: 0, bytes: 0, firsts: new Map() };
    for await (const text of file.lines()) {
      counted.bytes += text.length + 1;
      for (const { line, whole } of assembler.add(text)) {
        if (!whole) continue;
        counted.lines += 1;
        const origin = originKey(line);
        if (!counted.firsts.has(origin)) counted.firsts.set(origin, counted.lines);
      }
    }
    return counted;
  }
}

/** Returns the beginning of the first line after a position of a file; 0 for a position before the file. */
async function lineStart(file: LogFile, position: number): Promise<number> {
  for (let at = position; at > 0; ) {
    const block = await file.readAt(at, firstPart);
    if (block.length === 0) return at;
    const end = block.indexOf('\n');
    if (end !== -1) return at + end + 1;
    at += block.length;
  }
  return 0;
}
