import type { Matcher } from './filter.ts';
import { type LogRecord, nobody, parseLine } from './line.ts';

/** One line that was printed, however many records it takes. */
export type LogLine = Omit<LogRecord, 'continued'>;

/** Bytes of one line; what is beyond them is told as a line of its own. */
export const longestLine = 1024 ** 2;

/** How many lines may be open at a time. Each process has at most one a stream, unless one was killed amid a line. */
const mostOpen = 64;

interface Joined {
  line: LogLine;
  /** whether it is the end of a line, and not a piece of one that is too long */
  whole: boolean;
}

/** Makes whole lines of records: parts of one line may have parts of others between them. Texts are bytes, as latin1. */
export class Joiner {
  /** by whose they are; the one that waits longest first */
  readonly #open = new Map<string, LogLine>();
  readonly #matcher: Matcher;
  readonly #fallback: string;
  #time = '';

  /** @param fallback the time of a torn line that has none before it */
  constructor(matcher: Matcher, fallback: Date) {
    this.#matcher = matcher;
    this.#fallback = fallback.toISOString();
  }

  /** The lines that a record completes, of those that match. */
  add(text: string): Joined[] {
    // A line end is written after what may have been torn.
    if (text === '') return [];
    const record = parseLine(text) ?? tornLine(text, this.#time);
    this.#time = record.time;
    if (!this.#matcher.kind(record)) return [];
    const matched = this.#matcher.time(record.time);
    const { continued, ...line } = record;
    if (line.time === '') line.time = this.#fallback;
    const key = originKey(line);
    line.text = (this.#open.get(key)?.text ?? '') + line.text;
    this.#open.delete(key);
    const joined: Joined[] = [];
    while (line.text.length > longestLine) {
      const end = wholeCharacters(line.text, longestLine);
      joined.push({ line: { ...line, text: line.text.slice(0, end) }, whole: false });
      line.text = line.text.slice(end);
    }
    if (continued) this.#open.set(key, line);
    else joined.push({ line, whole: true });
    return matched ? [...joined, ...this.#tooMany()] : [];
  }

  #tooMany(): Joined[] {
    const [oldest] = this.#open;
    if (oldest === undefined || this.#open.size <= mostOpen) return [];
    this.#open.delete(oldest[0]);
    return [{ line: oldest[1], whole: false }];
  }
}

/** Whose parts belong together: an old release and a new one have processes of the same name while they are switched. */
export function originKey({ release, process, stream }: Omit<LogLine, 'time' | 'text'>): string {
  return `${release} ${process} ${stream}`;
}

/** What is no line of ours is shown all the same, as something that Sluice has to say. */
export function tornLine(text: string, time: string): LogRecord {
  return { ...nobody, time, stream: 'sys', continued: false, text };
}

/** The last place up to `end` that is not amid a character of UTF-8. */
function wholeCharacters(bytes: string, end: number): number {
  for (let back = 0; back < 4; back += 1) {
    if ((bytes.charCodeAt(end - back) & 0xc0) !== 0x80) return end - back;
  }
  return end;
}
