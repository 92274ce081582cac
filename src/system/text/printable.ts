const escapeCharacter = String.fromCharCode(0x1b);
const reset = `${escapeCharacter}[0m`;

/** Sequence that sets a colour or a weight. */
const colour = new RegExp(`${escapeCharacter}\\[[0-9;:]*m`);

/**
 * Control sequences (ECMA-48): strings such as OSC with their end, CSI, and escapes of two characters. An untrusted program may
 * have written the text, so no part of it is searched twice: the time of Node's `stripVTControlCharacters` grows with the
 * square of the length.
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
 * Makes text of any origin safe for a terminal. Removes sequences that move the cursor, rename the window or make the terminal
 * type an answer, and shows other control characters as text. Line ends and tabs stay.
 * @param keepColours keeps sequences that set colours; colours end with the text
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
 * Makes one line of a program's output safe for a terminal. Progress bars use carriage returns to overwrite a line, so only
 * the text after the last carriage return is shown.
 */
export function printableLine(line: string, keepColours: boolean): string {
  const end = line.replace(/\r+$/, '');
  return printable(end.slice(end.lastIndexOf('\r') + 1), keepColours);
}

/** Makes JSON safe for a terminal. JSON itself escapes all control characters but DEL and C1 characters. */
export function printableJson(json: string): string {
  return json.replace(/[\u007f-\u009f]/g, (character) => `\\u00${hexCode(character)}`);
}

/** Shows control characters as text, including C1 characters, which some terminals obey like escapes. */
function showControls(text: string): string {
  return text.replace(/(?![\t\n])\p{Cc}/gu, (character) => `\\x${hexCode(character)}`);
}

function hexCode(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(2, '0');
}

/** Removes the control characters that a terminal would act on. Line ends and tabs stay. */
export function withoutControls(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '');
}
