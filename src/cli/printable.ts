import { stripVTControlCharacters } from 'node:util';

const escapeCharacter = String.fromCharCode(0x1b);

/** Sets colours and weights, which last as far as we let them. */
const colour = new RegExp(`${escapeCharacter}\\[[0-9;:]*m`);

/**
 * A line of somebody else's as a terminal may have it: what moves the cursor, renames the window or answers as if typed
 * is taken out, and what is left of control characters is shown, not obeyed. A carriage return goes back to the start of
 * the line, as progress bars do: what comes after the last one is what would be seen.
 */
export function printable(line: string, keepColours: boolean): string {
  const end = line.replace(/\r+$/, '');
  const text = end.slice(end.lastIndexOf('\r') + 1);
  const pieces = text.split(colour).map((piece) => showControls(stripVTControlCharacters(piece)));
  if (!keepColours || pieces.length === 1) return pieces.join('');
  const colours = [...text.matchAll(new RegExp(colour, 'g'))].map(([sequence]) => sequence);
  return `${pieces.map((piece, index) => piece + (colours[index] ?? '')).join('')}${escapeCharacter}[0m`;
}

/** All but the tab; those of C1 too, which some terminals obey as they do an escape. */
function showControls(text: string): string {
  return text.replace(/(?!\t)\p{Cc}/gu, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}
