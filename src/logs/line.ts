/** `out` and `err` are what a process printed; `sys` is what Sluice says of it. */
export type LogStream = 'out' | 'err' | 'sys';

export const logStreams: readonly LogStream[] = ['out', 'err', 'sys'];

export function isLogStream(text: string): text is LogStream {
  return (logStreams as readonly string[]).includes(text);
}

/** Whose output it is. */
export interface LogOrigin {
  release: number;
  /** `web.0` for a worker: the process and its instance; `cron.NAME` for a scheduled command */
  process: string;
}

/** Whose line it is where it is no process's: torn by a full disk or a power cut, or of the log itself. */
export const nobody: LogOrigin = { release: 0, process: '-' };

/** One line of `app.log`, taken apart. */
export interface LogRecord extends LogOrigin {
  /** ISO 8601, UTC: when Sluice read it */
  time: string;
  stream: LogStream;
  /** whether the line goes on in the next record of the same process and stream */
  continued: boolean;
  text: string;
}

/**
 * What stands before a text in `app.log`: `2026-01-31T12:00:00.000Z 12 web.0 out `. A line that is too long to be held
 * back until its end is written in parts, all but the last of which have a `+` after the stream.
 */
export function linePrefix(
  time: Date,
  { release, process }: LogOrigin,
  stream: LogStream,
  continued = false,
): string {
  return `${time.toISOString()} ${release} ${process} ${stream}${continued ? '+' : ''} `;
}

/** The inverse. Undefined where it is no line of ours: one that was torn by a full disk or a power cut. */
export function parseLine(line: string): LogRecord | undefined {
  const [, time, release, process, stream, plus, text] =
    /^(\d{4}-\d\d-\d\dT[\d:.]+Z) (\d+) (\S+) ([a-z]+)(\+?) (.*)$/s.exec(line) ?? [];
  if (time === undefined || process === undefined || stream === undefined || text === undefined)
    return undefined;
  if (!isLogStream(stream)) return undefined;
  return {
    time,
    release: Number(release),
    process,
    stream,
    continued: plus === '+',
    text,
  };
}
