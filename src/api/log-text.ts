import type { LogLine } from '../logs/join.ts';

/** A line of a log as `application/x-ndjson` has it. */
export interface LogEntry extends Omit<LogLine, 'text'> {
  line: string;
  /** where the line is a JSON object, as those of pino are: its fields */
  json?: Record<string, unknown>;
}

export function textLine({ text }: LogLine): string {
  return `${text}\n`;
}

export function jsonLine({ text, ...rest }: LogLine): string {
  const json = rest.stream === 'sys' ? undefined : objectIn(text);
  const entry: LogEntry = { ...rest, line: text, ...(json && { json }) };
  return `${JSON.stringify(entry)}\n`;
}

function objectIn(text: string): Record<string, unknown> | undefined {
  if (!/^\s*\{.*\}\s*$/s.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
