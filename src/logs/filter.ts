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

/** Returns true if a filter selects lines of a process and stream, whatever their time. */
export function matchesOrigin(
  { release: only, process: name, streams }: LogFilter,
  { release, process, stream }: Pick<LogLine, 'release' | 'process' | 'stream'>,
): boolean {
  if (only !== undefined && release !== only) return false;
  if (streams !== undefined && !streams.includes(stream)) return false;
  if (name === undefined) return true;
  return process === name || process === `web.${name}` || process.startsWith(`${name}.`);
}
