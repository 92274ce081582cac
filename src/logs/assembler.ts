import { type LogFilter, matchesOrigin } from './filter.ts';
import { type LogLine, nobody, parseLine } from './line.ts';

/** Limit of one line, in bytes. The rest becomes a line of its own. */
export const maxLineLength = 1024 ** 2;

/** Number of incomplete lines that are kept. Each stream of a process has at most one, unless a process was killed in a line. */
const maxIncomplete = 64;

interface Assembled {
  line: LogLine;
  /** false for a piece of a line that is too long */
  whole: boolean;
}

/** Assembles lines from records: parts of a line may have records of others between them. Texts are bytes as latin1. */
export class LineAssembler {
  /** incomplete lines by origin, the oldest first */
  readonly #incomplete = new Map<string, LogLine>();
  readonly #filter: LogFilter;
  /** time of the first line as in the log: the order of such texts is that of their times */
  readonly #since: string;
  readonly #fallback: string;
  #time = '';

  /** @param fallback time of a torn line at the beginning */
  constructor(filter: LogFilter, fallback: Date) {
    this.#filter = filter;
    this.#since = filter.since?.toISOString() ?? '';
    this.#fallback = fallback.toISOString();
  }

  /** Returns the lines that a record completes and that match. */
  add(text: string): Assembled[] {
    // A line end is written after a record that may be torn.
    if (text === '') return [];
    // A torn record has the time of the one before it.
    const record = parseLine(text) ?? {
      ...nobody,
      time: this.#time,
      stream: 'sys',
      continued: false,
      text,
    };
    this.#time = record.time;
    if (!matchesOrigin(this.#filter, record)) return [];
    // All parts of a long line have the time of the last part.
    const matches = record.time >= this.#since;
    const { continued, ...line } = record;
    if (line.time === '') line.time = this.#fallback;
    const key = originKey(line);
    line.text = (this.#incomplete.get(key)?.text ?? '') + line.text;
    this.#incomplete.delete(key);
    const assembled: Assembled[] = [];
    while (line.text.length > maxLineLength) {
      const end = characterBoundary(line.text, maxLineLength);
      assembled.push({ line: { ...line, text: line.text.slice(0, end) }, whole: false });
      line.text = line.text.slice(end);
    }
    if (continued) this.#incomplete.set(key, line);
    else assembled.push({ line, whole: true });
    if (!matches) return [];
    const [oldest] = this.#incomplete;
    if (oldest === undefined || this.#incomplete.size <= maxIncomplete) return assembled;
    this.#incomplete.delete(oldest[0]);
    return [...assembled, { line: oldest[1], whole: false }];
  }
}

/** Returns a key for the records of one line. It has the release: during a switch, two releases have processes of one name. */
export function originKey({ release, process, stream }: Omit<LogLine, 'time' | 'text'>): string {
  return `${release} ${process} ${stream}`;
}

/** Returns the last place up to `end` that is between two characters of UTF-8. */
function characterBoundary(bytes: string, end: number): number {
  for (let back = 0; back < 4; back += 1) {
    if ((bytes.charCodeAt(end - back) & 0xc0) !== 0x80) return end - back;
  }
  return end;
}
