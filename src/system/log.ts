import { writeSync } from 'node:fs';

/** One event of our own log: what happened, and the facts around it. */
export type Log = (event: string, fields?: Record<string, unknown>) => void;

/**
 * Our own log, one JSON object a line, on a file descriptor. Written synchronously: events are few, and the last ones
 * before a crash are those that matter. A file system that takes no more must not end us, so the line goes to stderr then.
 */
export function createLog(descriptor: number, source: 'server' | 'runner', now = () => new Date()): Log {
  return (event, fields = {}) => {
    const line = `${JSON.stringify({ at: now().toISOString(), source, event, ...fields })}\n`;
    try {
      writeSync(descriptor, line);
    } catch (error) {
      sayElsewhere(`${line.trimEnd()} (not in the log: ${String(error)})\n`);
    }
  };
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

/** An error for the log, with its stack and what caused it. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by: ${describeError(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
