import type { LogLine, LogStream } from './line.ts';

/** Selection of lines. A property that is missing excludes none. */
export interface LogFilter {
  /** time of the first line */
  since?: Date;
  release?: number;
  /** `web.1`; `web` for all its instances; `1` for `web.1` */
  process?: string;
  streams?: readonly LogStream[];
}

/** Filter for many lines. Origin and time are checked apart: all parts of a long line have the time of the last part. */
export class Matcher {
  readonly #filter: LogFilter;
  readonly #since: string;

  constructor(filter: LogFilter) {
    this.#filter = filter;
    this.#since = filter.since?.toISOString() ?? '';
  }

  matchesOrigin({ release, process, stream }: Pick<LogLine, 'release' | 'process' | 'stream'>): boolean {
    const { release: only, process: name, streams } = this.#filter;
    if (only !== undefined && release !== only) return false;
    if (streams !== undefined && !streams.includes(stream)) return false;
    if (name === undefined) return true;
    return process === name || process === `web.${name}` || process.startsWith(`${name}.`);
  }

  /** @param time as in the log: the order of such texts is that of their times */
  matchesTime(time: string): boolean {
    return time >= this.#since;
  }
}
