/** Stream of a line: `out` and `err` are output of a process; `sys` is a message of Sluice about the process. */
export type LogStream = 'out' | 'err' | 'sys';

export const logStreams: readonly LogStream[] = ['out', 'err', 'sys'];

export function isLogStream(text: string): text is LogStream {
  return (logStreams as readonly string[]).includes(text);
}

/** Process of a line. */
export interface LogOrigin {
  release: number;
  /** `web.0` for a worker: the process and its instance; `cron.NAME` for a scheduled command */
  process: string;
}

/** Origin of lines that belong to no process: torn lines, and messages about the log itself. */
export const nobody: LogOrigin = { release: 0, process: '-' };

/** Line that a process has printed, or a message of Sluice. */
export interface LogLine extends LogOrigin {
  /** time at which Sluice read the line: ISO 8601, UTC */
  time: string;
  stream: LogStream;
  text: string;
}

/** One line of `app.log`: a line, or a part of a long line. */
export interface LogRecord extends LogLine {
  /** true if the line continues in the next record of the same process and stream */
  continued: boolean;
}

/**
 * Returns the beginning of a record in `app.log`: `2026-01-31T12:00:00.000Z 12 web.0 out `. A line that is too long to be kept in
 * memory until its end is written in parts. All parts but the last have a `+` after the stream.
 */
export function linePrefix(
  time: Date,
  { release, process }: LogOrigin,
  stream: LogStream,
  continued = false,
): string {
  return `${time.toISOString()} ${release} ${process} ${stream}${continued ? '+' : ''} `;
}

/** Parses a record; returns undefined for a line that a full disk or a power cut has torn. */
export function parseLine(line: string): LogRecord | undefined {
  const match = /^(\d{4}-\d\d-\d\dT[\d:.]+Z) (\d+) (\S+) ([a-z]+)(\+?) (.*)$/s.exec(line);
  const [, time = '', release, process = '', stream = '', plus, text = ''] = match ?? [];
  if (!isLogStream(stream)) return undefined;
  return { time, release: Number(release), process, stream, continued: plus === '+', text };
}
