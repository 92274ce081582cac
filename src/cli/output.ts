import { once } from 'node:events';
import { stripVTControlCharacters, styleText } from 'node:util';
import { printable, printableJson } from '../system/printable.ts';

type Style = Parameters<typeof styleText>[0];

/** Coloured where `stream` is a terminal and NO_COLOR is not set. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(style, text, { stream });
}

/** For people, as all that is printed here but JSON and bytes: with nothing in it that steers a terminal. */
export function print(text: string): void {
  process.stdout.write(`${printable(text, hasColours())}\n`);
}

/** On standard error. */
export function complain(text: string): void {
  process.stderr.write(`${printable(text, hasColours(process.stderr))}\n`);
}

/** For people, beside the outcome: on standard error, so that a script does not take it for that. */
export function remark(text: string): void {
  complain(paint('dim', text, process.stderr));
}

/** Prints a line. Fulfilled when more can be taken: what comes faster than it is read must not be held here. */
export async function put(line: string): Promise<void> {
  await write(`${printable(line, hasColours())}\n`);
}

/** The same for a line of JSON. */
export async function putJson(line: string): Promise<void> {
  await write(`${printableJson(line)}\n`);
}

/** The same for a line that is asked for as it was written. */
export async function putRaw(line: string): Promise<void> {
  await write(`${line}\n`);
}

async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

export function printJson(value: unknown): void {
  process.stdout.write(`${printableJson(JSON.stringify(value, null, 2))}\n`);
}

/** Whether what is printed has colours. */
export function hasColours(stream?: NodeJS.WriteStream): boolean {
  return paint('dim', '.', stream) !== '.';
}

/** Columns as wide as their widest cell; the first row is the head. */
export function table(rows: string[][]): string {
  const width = (text: string) => stripVTControlCharacters(text).length;
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => width(row[column] ?? ''))));
  return rows
    .map((row, index) => {
      const cells = row.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - width(cell)));
      const line = cells.join('   ').trimEnd();
      return index === 0 ? paint('dim', line) : line;
    })
    .join('\n');
}

/** `2026-11-22T17:09:29.123Z` → `2026-11-22 17:09`, in the time zone of whoever reads it. */
export function formatTime(iso: string): string {
  const date = new Date(iso);
  return `${formatDay(date)} ${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}`;
}

/** `2026-11-22`, in the time zone of whoever reads it. */
export function formatDay(date: Date): string {
  return `${date.getFullYear()}-${twoDigits(date.getMonth() + 1)}-${twoDigits(date.getDate())}`;
}

export function twoDigits(number: number): string {
  return String(number).padStart(2, '0');
}

export function stateColour(state: string): Style {
  if (state === 'running' || state === 'live' || state === 'open') return 'green';
  if (state === 'failed' || state === 'crashed') return 'red';
  if (state === 'starting' || state === 'building' || state === 'booting' || state === 'waiting')
    return 'yellow';
  return 'dim';
}
