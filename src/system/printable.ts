import { stripVTControlCharacters } from 'node:util';

const escapeCharacter = String.fromCharCode(0x1b);
const reset = `${escapeCharacter}[0m`;

/** Sets colours and weights, which last as far as we let them. */
const colour = new RegExp(`${escapeCharacter}\\[[0-9;:]*m`);

/**
 * Makes text safe for a terminal, whoever wrote parts of it: removes what moves the cursor, renames the window or answers
 * as if typed, and shows what is left of control characters instead of sending them. Line ends and tabs stay.
 * @param keepColours whether sequences that set colours stay; they end with the text
 */
export function printable(text: string, keepColours: boolean): string {
  const pieces = text.split(colour).map((piece) => showControls(stripVTControlCharacters(piece)));
  if (!keepColours || pieces.length === 1) return pieces.join('');
  const colours = [...text.matchAll(new RegExp(colour, 'g'))].map(([sequence]) => sequence);
  const coloured = pieces.map((piece, index) => piece + (colours[index] ?? '')).join('');
  const end = coloured.endsWith('\n') ? '\n' : '';
  const shown = coloured.slice(0, coloured.length - end.length);
  return `${shown}${shown.endsWith(reset) ? '' : reset}${end}`;
}

/**
 * The same for one line of a program's output. A carriage return goes back to the start of the line, as progress bars do:
 * what comes after the last one is what would be seen.
 */
export function printableLine(line: string, keepColours: boolean): string {
  const end = line.replace(/\r+$/, '');
  return printable(end.slice(end.lastIndexOf('\r') + 1), keepColours);
}

/** Makes JSON safe for a terminal: it escapes all control characters itself but DEL and those of C1. */
export function printableJson(json: string): string {
  return json.replace(/[\u007f-\u009f]/g, (character) => `\\u00${hexCode(character)}`);
}

/** Those of C1 too, which some terminals obey as they do an escape. */
function showControls(text: string): string {
  return text.replace(/(?![\t\n])\p{Cc}/gu, (character) => `\\x${hexCode(character)}`);
}

function hexCode(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(2, '0');
}
