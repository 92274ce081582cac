const escapeCharacter = String.fromCharCode(0x1b);
const reset = `${escapeCharacter}[0m`;

/** Sets colours and weights, which last as far as we let them. */
const colour = new RegExp(`${escapeCharacter}\\[[0-9;:]*m`);

/**
 * Control sequences (ECMA-48): strings such as OSC with their end, CSI, and escapes of two characters. A program that is not
 * trusted writes the text, and no part of it is searched twice: `stripVTControlCharacters` of Node.js takes a time that grows with
 * the square of the length.
 */
const sequences = new RegExp(
  [
    `(?:${escapeCharacter}[\\]PX^_]|[\\x90\\x98\\x9d-\\x9f])[^\\x07\\x1b\\x90\\x98\\x9b-\\x9f\\n]*(?:\\x07|${escapeCharacter}\\\\|\\x9c)`,
    `(?:${escapeCharacter}\\[|\\x9b)[0-?]*[ -/]*[@-~]`,
    `${escapeCharacter}[ -/]*[0-OQ-WYZ\`-~]`,
  ].join('|'),
  'g',
);

/**
 * Makes text safe for a terminal, whoever wrote parts of it: removes what moves the cursor, renames the window or answers
 * as if typed, and shows what is left of control characters instead of sending them. Line ends and tabs stay.
 * @param keepColours whether sequences that set colours stay; they end with the text
 */
export function printable(text: string, keepColours: boolean): string {
  const pieces = text.split(colour).map((piece) => showControls(piece.replace(sequences, '')));
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
