import { fstatSync, writeFileSync, writeSync } from 'node:fs';
import { pino } from 'pino';
import type { LogLevel } from './log-level.ts';
import { requestId } from './on-behalf.ts';

type Say = (event: string, fields?: Record<string, unknown>) => void;

/**
 * Our own log: what happened, and the facts around it. `info` is what was done; `warn` what went wrong and was dealt
 * with, or was the caller's to put right; `error` what is our fault, or needs somebody to see to it.
 */
export type Log = Record<LogLevel, Say>;

/**
 * Our own log, one JSON object a line, on a file descriptor: `level`, `time`, `source`, `msg`, the id of the request
 * that it is about where there is one, then the fields. An `error` among them is told with its stack and what caused it.
 */
export function createLog(descriptor: number, source: 'server' | 'runner', level: LogLevel = 'info'): Log {
  const mark = isJournal(descriptor) ? withPriority : (line: string) => line;
  const logger = pino(
    {
      level,
      base: { source },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
    },
    { write: (line) => writeLine(descriptor, mark(line)) },
  );
  // As a field like the others, the event stands before them, where people look for it; pino's own comes last.
  const at =
    (each: LogLevel): Say =>
    (event, fields) =>
      logger[each]({ msg: event, requestId: requestId(), ...fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Whether systemd has connected it to its journal (systemd.exec(5), $JOURNAL_STREAM). */
function isJournal(descriptor: number): boolean {
  const stream = process.env['JOURNAL_STREAM'];
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(descriptor);
  return stream === `${dev}:${ino}`;
}

/** The journal takes how urgent a line is from its beginning, and takes that away: `journalctl -p warning`. */
function withPriority(line: string): string {
  const level = /^\{"level":"(\w+)"/.exec(line)?.[1] as LogLevel;
  return `<${priorities[level]}>${line}`;
}

const priorities: Record<LogLevel, number> = { error: 3, warn: 4, info: 6, debug: 7 };

/**
 * Synchronously: events are few, and the last ones before a crash are those that matter. A file system that takes no
 * more must not end us, so the line goes to stderr then; pino's own destination throws at such a one, or, where its
 * error is listened to, keeps every line in memory from then on.
 */
function writeLine(descriptor: number, line: string): void {
  try {
    writeFileSync(descriptor, line);
  } catch (error) {
    sayElsewhere(`${line.trimEnd()} (not in the log: ${String(error)})\n`);
  }
}

/**
 * On stderr, which for the runner is the log itself: where that takes no more either, nobody is left to be told, and
 * what we do matters more than what we say of it. (`process.stderr.write` would end us by an 'error' that nobody hears.)
 */
function sayElsewhere(text: string): void {
  try {
    writeSync(process.stderr.fd, text);
  } catch {}
}

/** An error for a log, with its stack and what caused it. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by: ${describeError(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
