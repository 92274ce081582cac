import { fstatSync, writeFileSync, writeSync } from 'node:fs';
import { errorBody } from '../../errors/app-error.ts';
import { errorStatus } from '../../errors/codes.ts';
import { requestId } from './request-id.ts';

/** Levels of our own log, from the least to the most urgent. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;

export type LogLevel = (typeof logLevels)[number];

/** Returns the level of this name, or `info`. */
export function logLevel(name: string | undefined): LogLevel {
  return logLevels.find((level) => level === name) ?? 'info';
}

type LogEvent = (event: string, fields?: Record<string, unknown>) => void;

/**
 * Our own log of events and their fields. `info` is normal work. `warn` is a failure that was handled, or that the caller can
 * correct. `error` is a failure of Sluice, or a problem that an administrator must solve.
 */
export type Log = Record<LogLevel, LogEvent>;

/**
 * Creates our own log on a file descriptor. Each line is a JSON object: `level`, `time`, `source`, `msg`, the id of the request
 * if there is one, then the fields. An `error` among the fields has its stack and its causes.
 */
export function createLog(descriptor: number, source: 'server' | 'runner', level: LogLevel = 'info'): Log {
  const inJournal = isJournal(descriptor);
  const at = (each: LogLevel): LogEvent => {
    if (logLevels.indexOf(each) < logLevels.indexOf(level)) return () => undefined;
    const priority = inJournal ? `<${priorities[each]}>` : '';
    return (event, { error, ...fields } = {}) => {
      const head = {
        level: each,
        time: new Date().toISOString(),
        source,
        msg: event,
        requestId: requestId(),
      };
      const line = { ...head, ...fields, ...(error !== undefined && { error: describeError(error) }) };
      writeLine(descriptor, `${priority}${JSON.stringify(line)}\n`);
    };
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/**
 * Returns the level for the error of a request. An error that the caller can correct is a warning, and so is an error because
 * Sluice is being stopped.
 */
export function levelOf(error: unknown): 'warn' | 'error' {
  const { code } = errorBody(error);
  return errorStatus[code] < 500 || code === 'stopping' ? 'warn' : 'error';
}

/** Returns true if systemd has connected the descriptor to its journal (systemd.exec(5), $JOURNAL_STREAM). */
function isJournal(descriptor: number): boolean {
  const stream = process.env['JOURNAL_STREAM'];
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(descriptor);
  return stream === `${dev}:${ino}`;
}

/** Priorities in the journal, which reads and removes them: `journalctl -p warning`. */
const priorities: Record<LogLevel, number> = { error: 3, warn: 4, info: 6, debug: 7 };

/**
 * Writes a line synchronously: events are few, and the last ones before a crash matter most. A line that the file system refuses
 * goes to stderr.
 */
function writeLine(descriptor: number, line: string): void {
  try {
    writeFileSync(descriptor, line);
  } catch (error) {
    writeToStderr(`${line.trimEnd()} (not in the log: ${String(error)})\n`);
  }
}

/**
 * Writes to stderr, and ignores errors: for the runner, stderr is the log itself. An 'error' event of `process.stderr` would end
 * the process.
 */
function writeToStderr(text: string): void {
  try {
    writeSync(process.stderr.fd, text);
  } catch {}
}

/** Describes an error for a log, with its stack and its causes. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by: ${describeError(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
