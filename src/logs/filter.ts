import type { LogRecord, LogStream } from './line.ts';

/** Which lines are wanted; what is not said excludes none. */
export interface LogFilter {
  /** those of this moment and later */
  since?: Date;
  release?: number;
  /** `web.1`; `web` for all its instances; `1` for `web.1` */
  process?: string;
  streams?: readonly LogStream[];
}

type Kind = Pick<LogRecord, 'release' | 'process' | 'stream'>;

/** A filter made ready for many lines. What a line is of and when it was are asked apart: the parts of a long line have one end. */
export class Matcher {
  readonly #filter: LogFilter;
  readonly #since: string;

  constructor(filter: LogFilter) {
    this.#filter = filter;
    this.#since = filter.since?.toISOString() ?? '';
  }

  kind({ release, process, stream }: Kind): boolean {
    const { release: wanted, process: name, streams } = this.#filter;
    if (wanted !== undefined && release !== wanted) return false;
    if (streams !== undefined && !streams.includes(stream)) return false;
    if (name === undefined) return true;
    return process === name || process === `web.${name}` || process.startsWith(`${name}.`);
  }

  /** @param time as it stands in the log: such texts are in the order of the times */
  time(time: string): boolean {
    return time >= this.#since;
  }
}
