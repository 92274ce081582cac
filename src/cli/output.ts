import { once } from 'node:events';
import { stripVTControlCharacters, styleText } from 'node:util';
import { printable, printableJson } from '../system/text/printable.ts';

type Style = Parameters<typeof styleText>[0];

/** Colours text if `stream` is a terminal and NO_COLOR is not set. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(style, text, { stream });
}

/** Text of a notice, with its hint. */
export function noteText({ message, hint }: { message: string; hint: string }): string {
  return `${paint('yellow', `note: ${message}`)}${hint === '' ? '' : `\n   ${hint}`}`;
}

/** Prints text for people, made safe for a terminal. */
export function print(text: string): void {
  process.stdout.write(`${printable(text, hasColours())}\n`);
}

/** Prints text for people on standard error, made safe for a terminal. */
export function printError(text: string): void {
  process.stderr.write(`${printable(text, hasColours(process.stderr))}\n`);
}

/** Prints a remark on standard error, because standard output is only for the outcome. */
export function printRemark(text: string): void {
  printError(paint('dim', text, process.stderr));
}

/** Prints a line for people; otherwise as `writeLine`. */
export function printLine(line: string): Promise<void> {
  return writeLine(printable(line, hasColours()));
}

/** Prints a line as it is. Fulfilled when stdout accepts more, so that lines do not pile up in memory. */
export async function writeLine(line: string): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}

export function printJson(value: unknown): void {
  process.stdout.write(`${printableJson(JSON.stringify(value, null, 2))}\n`);
}

/** Returns true if printed text has colours. */
export function hasColours(stream?: NodeJS.WriteStream): boolean {
  return paint('dim', '.', stream) !== '.';
}

/**
 * Formats rows as a table, with `-` for a missing value.
 * @param head names of the columns
 * @param none text if there are no rows
 */
export function table(head: string, rows: (string | number | null)[][], none = ''): string {
  if (rows.length === 0) return none;
  const width = (text: string) => stripVTControlCharacters(text).length;
  const lines = [head.split(' '), ...rows].map((row) => row.map((cell) => String(cell ?? '-')));
  const widths = head
    .split(' ')
    .map((_, column) => Math.max(...lines.map((line) => width(line[column] ?? ''))));
  const [first = '', ...others] = lines.map((line) => {
    const cells = line.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - width(cell)));
    return cells.join('   ').trimEnd();
  });
  return [paint('dim', first), ...others].join('\n');
}

/** Language with ISO 8601 dates and a clock of 24 hours. */
const isoLocale = 'sv-SE';

/** `2026-11-22T17:09:29.123Z` → `2026-11-22 17:09`, in the local time zone. */
export function formatTime(iso: string): string {
  return new Date(iso).toLocaleString(isoLocale, { dateStyle: 'short', timeStyle: 'short' });
}

/** `2026-11-22`, in the local time zone. */
export function formatDay(date: Date): string {
  return date.toLocaleDateString(isoLocale);
}

/** `17:09:29`, in the local time zone. */
export function formatClock(date: Date): string {
  return date.toLocaleTimeString(isoLocale);
}

export function stateColour(state: string): Style {
  if (['running', 'live', 'open'].includes(state)) return 'green';
  if (['failed', 'crashed', 'reverted'].includes(state)) return 'red';
  return ['starting', 'building', 'booting', 'waiting'].includes(state) ? 'yellow' : 'dim';
}
