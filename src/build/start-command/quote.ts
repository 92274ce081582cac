import type { Word } from '../../releases/words.ts';

/** Returns a command with more words, as package managers add arguments to a script. */
export function withWords(text: string, words: Word[]): string {
  return [text, ...words.map(quoteWord)].join(' ');
}

/** Returns a word as a shell reads it. */
function quoteWord(word: Word): string {
  if (typeof word === 'string') return quote(word);
  const parts = word.map((part) => {
    if (typeof part === 'string') return part === '' ? '' : quote(part);
    const { variable, default: fallback, split } = part;
    const written = fallback === undefined ? `\${${variable}}` : `\${${variable}:-${fallback}}`;
    return split === true ? written : `"${written}"`;
  });
  return parts.join('');
}

/** Returns a text as one word of a shell. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
